"""Which events were published already (rule 2), so that a second publish of one is recognised.

An identity is remembered for as long as a claim lives, in one key: a state byte, the digest that the event
must have each time (32 bytes), and the claim that holds it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from claimstore.connection import Connection
from claimstore.errors import IdentityConflictError
from claimstore.script import Script

_BEGUN: Final = b"?"
_CONFIRMED: Final = b"!"
_DIGEST: Final = 32

_CONFIRM: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('SETRANGE', KEYS[1], 0, '!') end
""")


@dataclass(frozen=True, slots=True)
class New:
    """Nobody published this before."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A publish was begun with this claim, and nobody knows whether it succeeded: carry it through."""

    claim_id: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """It was published: nothing is left to do."""


Standing = New | Unconfirmed | Confirmed


class Identities:
    """The identities of the events published within a claim's life."""

    def __init__(self, connection: Connection, *, life: timedelta) -> None:
        self._connection = connection
        self._life = int(life.total_seconds())

    async def begin(self, message_id: str, digest: bytes, claim_id: str) -> Standing:
        """Note that an event is about to be published, unless it is known, and tell how it stands.

        ``digest`` is the SHA-256 of what must be the same each time. Raises IdentityConflictError when the
        identity was begun with another one, and StoreUnavailableError.
        """
        (standing,) = await self.begin_many([(message_id, digest, claim_id)])
        if isinstance(standing, IdentityConflictError):
            raise standing
        return standing

    async def begin_many(
        self, events: Iterable[tuple[str, bytes, str]]
    ) -> list[Standing | IdentityConflictError]:
        """Do `begin` for many in one round trip. A conflict is an answer too: it leaves the others alone."""
        begun = list(events)
        known = await self._connection.ask_many(
            ("SET", self._key(message_id), _value(digest, claim_id), "NX", "GET", "EX", self._life)
            for message_id, digest, claim_id in begun
        )
        return [
            _standing(message_id, digest, value)
            for (message_id, digest, _), value in zip(begun, known, strict=True)
        ]

    async def confirm(self, message_ids: Iterable[str]) -> None:
        """Note that these were published. Raises StoreUnavailableError."""
        await asyncio.gather(
            *(_CONFIRM.run(self._connection, [self._key(message_id)]) for message_id in message_ids)
        )

    def _key(self, message_id: str) -> str:
        return f"{self._connection.prefix}identity:{{{message_id}}}"


def _value(digest: bytes, claim_id: str) -> bytes:
    if len(digest) != _DIGEST:
        raise ValueError(f"digest: must be a SHA-256 of {_DIGEST} bytes, has {len(digest)}")
    return _BEGUN + digest + claim_id.encode()


def _standing(message_id: str, digest: bytes, known: bytes | None) -> Standing | IdentityConflictError:
    if known is None:
        return New()
    if known[1 : 1 + _DIGEST] != digest:
        return IdentityConflictError(message_id)
    return Confirmed() if known[:1] == _CONFIRMED else Unconfirmed(known[1 + _DIGEST :].decode())
