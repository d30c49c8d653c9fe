"""Which endpoints are in quarantine (rule 4): their queue does not answer, so it is unbound for now."""

from claimstore.connection import Connection


class Quarantined:
    """The endpoints in quarantine and since when, and the last look; in milliseconds since the epoch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = f"{connection.prefix}quarantined"
        self._looked = f"{connection.prefix}queues-looked-at"

    async def put(self, endpoint: str, since_ms: int) -> None:
        """Note that an endpoint's queue is about to be unbound; the first time counts."""
        await self._connection.ask("HSETNX", self._key, endpoint, since_ms, durable=True)

    async def all(self) -> dict[str, int]:
        """Return the endpoints in quarantine. Raises StoreUnavailableError."""
        found = await self._connection.ask("HGETALL", self._key)
        pairs = zip(found[::2], found[1::2], strict=True)
        return {endpoint.decode(): int(since) for endpoint, since in pairs}

    async def remove(self, endpoint: str) -> None:
        """Note that an endpoint has back what it missed. Raises StoreUnavailableError."""
        await self._connection.ask("HDEL", self._key, endpoint)

    async def note_look(self, begun_ms: int) -> None:
        """Note that since this moment every queue has been seen, or its endpoint is in quarantine."""
        await self._connection.ask("SET", self._looked, begun_ms)

    async def last_look(self) -> int | None:
        """Return when the last look at all queues began; None when nobody knows."""
        found = await self._connection.ask("GET", self._looked)
        return None if found is None else int(found)
