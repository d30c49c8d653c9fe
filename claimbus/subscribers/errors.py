"""What can go wrong on the participant's side."""

from typing import Final, Literal

from claimbus.events.errors import ClaimbusError, InvalidInputError, UnavailableError

Fault = Literal["missing", "timestamp", "mismatch"]

_FAULTS: Final[dict[Fault, str]] = {
    "missing": "webhook-id, webhook-timestamp or webhook-signature is missing or malformed",
    "timestamp": "the timestamp is too far from this machine's clock",
    "mismatch": "no signature was made with any of the secrets",
}


class SignatureError(ClaimbusError):
    """What arrived is not proved to come from the ISO. Answer 401 and nothing else.

    ``fault`` is for your own log. It tells no more than what the sender knows anyway: not which secret, or
    which of several signatures, was compared.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(_FAULTS[fault])
        self.fault = fault


class MalformedEventError(InvalidInputError):
    """What arrived is no event in the form of the ISO's; ``field`` names the attribute at fault."""


class SinkError(ClaimbusError):
    """An event was not taken: it must come again."""


class BodyRefusedError(SinkError):
    """A body is not to be had: expired, unknown, not ours, too large, or not what the portal says."""


class BodyUnavailableError(SinkError, UnavailableError):
    """A body could not be fetched now."""


class SinkClosedError(SinkError):
    """Nothing will be taken any more: who read our standard output is gone."""


class StoppingError(ClaimbusError):
    """This process is about to end and takes no more: the event must come again."""
