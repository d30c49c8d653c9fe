"""Which endpoints are in quarantine (rule 4): their queue does not answer, so it is unbound for now."""

from claimstore.connection import Connection


class Quarantined:
    """The endpoints in quarantine, and since when, in milliseconds since the epoch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = f"{connection.prefix}quarantined"

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
