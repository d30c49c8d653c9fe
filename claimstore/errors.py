"""What can go wrong with a claim, told apart, so that each gets its own verdict."""

from claimbus.events.errors import ClaimbusError, InvalidEventError, InvalidInputError, UnavailableError


class StoreUnavailableError(UnavailableError):
    """Redis does not answer, is loading, is a replica, or refuses. What was asked may be done or not."""


class StoreFullError(StoreUnavailableError):
    """Redis has reached its ``maxmemory`` and takes no more; reading still works."""


class ClaimKeyMissingError(StoreUnavailableError):
    """The claim is encrypted with a key that is not set; nothing is lost. ``key`` is the key's name."""

    def __init__(self, reason: str, key: str) -> None:
        super().__init__(reason)
        self.key = key


class ClaimError(ClaimbusError):
    """A claim that cannot be redeemed, however often one tries. ``claim_id`` names it."""

    def __init__(self, claim_id: str, reason: str) -> None:
        super().__init__(f"claim {claim_id} {reason}")
        self.claim_id = claim_id
        self.reason = reason


class ClaimExpiredError(ClaimError):
    """The claim is gone, as it should be: its life is over."""


class ClaimMissingError(ClaimError):
    """The claim is gone before its time: evicted, deleted or lost. Somebody must look into it."""


class ClaimCorruptError(ClaimError):
    """The claim is there but is not what was checked in. Somebody must look into it."""


class BodyTooLargeError(InvalidEventError):
    """A body over the limit; refused before anything of it can be redeemed."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("body", f"has {size:,} bytes or more; the limit is {limit:,}")
        self.size = size
        self.limit = limit


class IdentityConflictError(InvalidInputError):
    """An event's source and ID were used before, with another body."""

    def __init__(self, message_id: str) -> None:
        super().__init__("id", f"was used before by this source with another body ({message_id})")
        self.message_id = message_id


class StaleSnapshotError(ClaimbusError):
    """A snapshot older than one that was already taken in; nothing of it may be believed any more."""

    def __init__(self, snapshot: int, newest: int) -> None:
        super().__init__(f"snapshot {snapshot} is older than {newest}, which was already taken in")
        self.snapshot = snapshot
        self.newest = newest
