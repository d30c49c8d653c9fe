"""To whom a claim was handed out by its ID, for when it has expired: they are told so, and nobody else."""

import asyncio
from datetime import timedelta
from typing import Final

from claimstore.connection import Connection

REMEMBERED: Final = timedelta(days=30)
"""How long beyond a claim's life it is known that it was there."""


class Handed:
    """The participants who were given a claim's ID in place of its body."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def note(self, claim_id: str, participant: str, *, expires: int) -> None:
        """Note it before the ID goes out; ``expires`` is the claim's. Raises StoreUnavailableError."""
        key, forgotten = self._key(claim_id), expires + int(REMEMBERED.total_seconds())
        await asyncio.gather(
            self._connection.ask("SADD", key, participant),
            self._connection.ask("EXPIREAT", key, forgotten),
        )

    async def to(self, claim_id: str) -> frozenset[str]:
        """Return the participants; none for an ID that was never handed out. Raises StoreUnavailableError."""
        found = await self._connection.ask("SMEMBERS", self._key(claim_id))
        return frozenset(one.decode() for one in found)

    def _key(self, claim_id: str) -> str:
        return f"{self._connection.prefix}handed:{{{claim_id}}}"
