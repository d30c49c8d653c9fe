"""How far an ordered endpoint has come with the delivery at its head, for the worker that takes over."""

from datetime import timedelta
from typing import NamedTuple

from claimstore.connection import Connection


class HeadDelivery(NamedTuple):
    """Attempts made so far, and when the next is due, in milliseconds since the epoch."""

    message_id: str
    attempt: int
    next_at: int


class Progress:
    """The head deliveries of all ordered endpoints. Each is forgotten a claim's life after it was set."""

    def __init__(self, connection: Connection, *, life: timedelta) -> None:
        self._connection = connection
        self._life = int(life.total_seconds())

    async def get(self, endpoint: str) -> HeadDelivery | None:
        """Return what was set last; None after `clear`. Raises StoreUnavailableError."""
        found: bytes | None = await self._connection.ask("GET", self._key(endpoint))
        if found is None:
            return None
        attempt, next_at, message_id = found.decode().split(":", 2)
        return HeadDelivery(message_id, int(attempt), int(next_at))

    async def set(self, endpoint: str, head: HeadDelivery) -> None:
        """Note an attempt. Raises StoreUnavailableError."""
        value = f"{head.attempt}:{head.next_at}:{head.message_id}"
        await self._connection.ask("SET", self._key(endpoint), value, "EX", self._life)

    async def clear(self, endpoint: str) -> None:
        """Forget the head: it was delivered or given up. Raises StoreUnavailableError."""
        await self._connection.ask("DEL", self._key(endpoint))

    def _key(self, endpoint: str) -> str:
        return f"{self._connection.prefix}progress:{{{endpoint}}}"
