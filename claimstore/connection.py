"""The door to Redis: one server, the master that sentinels name, or a cluster, by its URL."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import AuthenticationError, ResponseError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from claimbus.events.errors import ConfigurationError
from claimstore.addresses import SETTING, Address, Host, Settings, limits, parse_address, show
from claimstore.cluster import Cluster
from claimstore.errors import StoreUnavailableError
from claimstore.lanes import Part, Reply
from claimstore.sentinel import Service
from claimstore.server import Pools, Server, Servers

__all__ = ["Connection", "Part", "Reply"]

_USUAL_REPLICAS: Final = {"server": 0, "sentinel": 1, "cluster": 1}


class Connection:
    """The way to Redis, shared by everything in one event loop."""

    def __init__(self, servers: Servers, *, prefix: str, replicas: int) -> None:
        self.prefix = prefix
        self.clustered = isinstance(servers, Cluster)
        """Whether keys are spread over servers by their slots."""
        self.replicas = replicas
        """How many replicas must have what is asked for as durable."""
        self._servers = servers
        self._send = servers.send

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        prefix: str = "",
        tls: ssl.SSLContext | None = None,
        connections: int = 4,
        replicas: int | None = None,
        answer_within: float = 5.0,
        connect_within: float = 15.0,
    ) -> Self:
        """Connect to what `parse_address` reads in the URL; return when Redis answers.

        ``prefix`` is put before every key. ``replicas`` must have what is durable; by default one where
        there is a failover, and none with a single server. Connecting is tried again for ``connect_within``
        seconds; ``answer_within`` bounds each round trip and, once more, the wait for its turn. Each server
        gets as many ``connections``, and as many again for what waits for replicas. Raises
        StoreUnavailableError, and ConfigurationError for a URL, prefix or password that cannot be used.
        """
        if "{" in prefix or "}" in prefix:
            raise ConfigurationError("key_prefix", "must have no braces: they are the hash tags of the keys")
        address = parse_address(url, tls)
        wanted = _USUAL_REPLICAS[address.kind] if replicas is None else replicas
        servers = _servers(address, connections, wanted, answer_within)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(_may_pass),
                stop=stop_after_delay(connect_within),
                wait=wait_random_exponential(multiplier=0.1, max=2),
                reraise=True,
            ):
                with attempt:
                    await servers.connect()
        except BaseException as error:
            await servers.aclose()
            if isinstance(error.__cause__, AuthenticationError):
                raise ConfigurationError(SETTING, "Redis refuses the user or password") from error
            raise
        return cls(servers, prefix=prefix, replicas=wanted)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def masters(self) -> Sequence[Server]:
        """Every server that has keys, for what must be asked of each."""
        return self._servers.masters

    def ask(self, *command: Part, durable: bool = False) -> asyncio.Future[Reply]:
        """Send a command, with others asked for in this turn; the reply comes with the future.

        One that is ``durable`` is answered when the replicas have it, too. The future raises
        StoreUnavailableError, and so does the call when the connection is closed or leads nowhere.
        """
        return self._send(command, durable=durable)

    async def ask_many(self, commands: Iterable[tuple[Part, ...]]) -> list[Reply]:
        """Send commands and return their replies in order. The first error is raised; the others go on."""
        return await asyncio.gather(*(self.ask(*command) for command in commands))

    async def ping(self) -> None:
        """Return when every server that has keys answers. Raises StoreUnavailableError."""
        await asyncio.gather(*(master.ask("PING") for master in self.masters))

    async def look_again(self, key: str) -> bool:
        """Find out anew which server has a key, for what is asked next. False: there never is another.

        A master that was cut off and replaced answers, too, until it hears of it, and lacks what the new one
        was given. Raises StoreUnavailableError.
        """
        return await self._servers.look_again(key)

    async def now(self, key: str) -> int:
        """Return the second it is by the clock by which a key expires: that of the server that has it."""
        return await _clock(self._servers.server(key))

    async def clocks(self) -> list[int]:
        """Return the second it is on every server that has keys. Raises StoreUnavailableError."""
        return await asyncio.gather(*map(_clock, self.masters))

    async def aclose(self) -> None:
        """Close all connections. Whoever still waits for a reply gets StoreUnavailableError."""
        await self._servers.aclose()


async def _clock(server: Server) -> int:
    seconds, _ = await server.ask("TIME")
    return int(seconds)


def _servers(address: Address, connections: int, replicas: int, answer_within: float) -> Servers:
    bounds = limits(most=connections, connect_within=answer_within)

    def server(name: str, pools: Pools, **told: Any) -> Server:  # noqa: ANN401  # what `Make` gives
        return Server(name, pools, answer_within=answer_within, replicas=replicas, **told)

    def member(host: Host, **told: Any) -> Server:  # noqa: ANN401
        place: Settings = {"host": host[0], "port": host[1]}
        return server(show(host), lambda: ConnectionPool(**address.settings, **place, **bounds), **told)

    match address.kind:
        case "cluster":
            return Cluster(address.hosts, member, answer_within=answer_within)
        case "sentinel":
            return Service(address, bounds, answer_within=answer_within, replicas=replicas)
        case "server":
            return server("Redis", lambda: ConnectionPool(**address.settings, **bounds))


def _may_pass(error: BaseException) -> bool:
    refusal = isinstance(error.__cause__, (AuthenticationError, ResponseError))
    return isinstance(error, StoreUnavailableError) and not refusal
