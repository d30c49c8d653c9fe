"""One Redis, asked by whoever shares it in this event loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from hiredis import pack_command
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ResponseError

from claimstore.errors import StoreUnavailableError
from claimstore.lanes import Asked, Lanes, Part, Reply

Pools: TypeAlias = Callable[[], ConnectionPool]
"""Makes the connections to a server, as often as they are needed."""


class Servers(Protocol):
    """What a connection leads to: one server, or several that share the keys."""

    @property
    def masters(self) -> Sequence["Server"]:
        """Every server that has keys."""

    def server(self, key: Part | None) -> "Server":
        """Return the one that has a key, or any. Raises StoreUnavailableError when none is known."""

    def send(self, command: Sequence[Part], *, durable: bool) -> asyncio.Future[Reply]:
        """Send a command to the one that has its key; the future is that of `Server.ask`."""

    async def look_again(self, key: Part) -> bool:
        """Find out anew which server has a key, for what is asked next. False: there never is another."""

    async def connect(self) -> None:
        """Find the servers and return when all answer. Raises StoreUnavailableError."""

    async def aclose(self) -> None:
        """Close all connections. Whoever still waits for a reply gets StoreUnavailableError."""


def _not_taken(_asked: Asked, _refusal: ResponseError) -> bool:
    return False


def _unheard() -> None:
    pass


class Server:
    """A Redis that takes writes: alone, the one that sentinels call the master, or one of a cluster.

    What must be durable has lanes of its own when it waits for ``replicas``: then nothing else waits with it.
    """

    def __init__(
        self,
        name: str,
        pools: Pools,
        *,
        answer_within: float,
        replicas: int = 0,
        refused: Callable[[Asked, ResponseError], bool] = _not_taken,
        lost: Callable[[], None] = _unheard,
    ) -> None:
        self.name = name
        self._answer_within = answer_within
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(pools(), answer_within=answer_within, refused=refused, lost=lost)
        self._durable = self._lanes
        if replicas:
            self._durable = Lanes(
                pools(), answer_within=answer_within, replicas=replicas, refused=refused, lost=lost
            )
        self._closed = False

    @property
    def masters(self) -> Sequence["Server"]:
        """Itself: it has all keys, unless it is one of a cluster."""
        return [self]

    def server(self, _key: Part | None) -> "Server":
        """Return itself."""
        return self

    async def look_again(self, _key: Part) -> bool:
        """There is no other."""
        return False

    async def connect(self) -> None:
        """Return when it answers. Raises StoreUnavailableError."""
        await self.ask("PING")

    def ask(self, *command: Part) -> asyncio.Future[Reply]:
        """Send a command, with others asked for in this turn; the reply comes with the future.

        The future raises StoreUnavailableError, and so does the call once the server is closed.
        """
        return self.send(command)

    def send(self, command: Sequence[Part], *, durable: bool = False) -> asyncio.Future[Reply]:
        """Do `ask`; what is ``durable`` is answered when the replicas have it, too."""
        if self._closed:
            raise StoreUnavailableError("the connection to Redis is closed")
        packed: bytes = pack_command(command)  # type: ignore[arg-type]  # the stub knows only tuples of one
        reply: asyncio.Future[Reply] = self._loop.create_future()
        asked = Asked(packed, reply, self._loop.time() + self._answer_within, durable)
        (self._durable if durable else self._lanes).put(asked)
        return reply

    def take(self, asked: Asked) -> None:
        """Send a command that another server did not do."""
        if self._closed:
            asked.fail(StoreUnavailableError("the connection to Redis is closed"))
        else:
            (self._durable if asked.durable else self._lanes).put(asked)

    async def aclose(self) -> None:
        """Close all connections. Whoever still waits for a reply gets StoreUnavailableError."""
        self._closed = True
        await asyncio.gather(self._lanes.aclose(), self._durable.aclose())
