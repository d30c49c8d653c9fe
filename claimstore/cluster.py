"""A Redis Cluster: which master has which slot, and what to do when that changes.

A master that does not have a slot any more says MOVED, or ASK while it hands it over, and has done nothing:
the command follows. When a master is lost, whoever asked it gets StoreUnavailableError, and the servers are
asked for the slots again, until a replica has taken its place.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from claimbus.events.errors import ConfigurationError
from claimstore.addresses import SETTING, Host
from claimstore.errors import StoreUnavailableError
from claimstore.lanes import Asked, Part, Reply
from claimstore.server import Server

MAX_HOPS: Final = 5
"""From one master to another; more means that they do not agree."""

PAUSE: Final = 0.1
"""Seconds between two times that the servers are asked for the slots."""

_KEYLESS: Final = frozenset(
    {"CLIENT", "CONFIG", "DBSIZE", "ECHO", "INFO", "PING", "RANDOMKEY", "ROLE", "SCAN", "TIME"}
)


class Make(Protocol):
    """Makes the way to one server."""

    def __call__(
        self, host: Host, *, refused: Callable[[Asked, ResponseError], bool], lost: Callable[[], None]
    ) -> Server:
        """Return it; ``refused`` and ``lost`` are those of `Lanes`."""


class Cluster:
    """The masters of a cluster. What has no key is asked of any."""

    def __init__(self, seeds: Sequence[Host], make: Make, *, answer_within: float) -> None:
        self._seeds = seeds
        self._make = make
        self._look_within = answer_within / 2
        self._servers: dict[Host, Server] = {}
        self._slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self.masters: Sequence[Server] = ()
        """The servers that have slots, each once; known once connected."""
        self._looking: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Find the masters; return when all answer. Raises ConfigurationError and StoreUnavailableError."""
        try:
            await self._look()
        except StoreUnavailableError as failed:
            if "cluster support disabled" in str(failed):
                raise ConfigurationError(SETTING, "names a server that is no cluster") from failed
            raise
        await asyncio.gather(*(master.ask("PING") for master in self.masters))

    def server(self, key: Part | None) -> Server:
        """Return the master that has a key, or any. Raises StoreUnavailableError when none is known."""
        if key is None:
            return self.masters[0]
        server = self._slots[_slot(key)]
        if server is None:
            self._look_soon()
            raise StoreUnavailableError("no master of the Redis Cluster has the slot of this key")
        return server

    def send(self, command: Sequence[Part], *, durable: bool = False) -> asyncio.Future[Reply]:
        """Send a command to the master that has its key; the future is that of `Server.ask`."""
        return self.server(_key(command)).send(command, durable=durable)

    async def look_again(self, key: Part) -> bool:
        """Ask for the slots; the master that is believed to have this key's only if no other server answers.

        Raises StoreUnavailableError.
        """
        await self._look(doubted=self.server(key))
        return True

    async def aclose(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(one.aclose() for one in self._servers.values()), *self._leaving)

    def _at(self, host: Host) -> Server:
        server = self._servers.get(host)
        if server is None:
            refused = partial(self._refused, host)
            server = self._servers[host] = self._make(host, refused=refused, lost=self._look_soon)
        return server

    def _refused(self, host: Host, asked: Asked, refusal: ResponseError) -> bool:
        """Send a command where its slot is. False: this is no matter of slots."""
        if isinstance(refusal, ClusterDownError):
            self._look_soon()
        if not isinstance(refusal, AskError) or asked.hops == MAX_HOPS:
            return False
        server = self._at(_address(refusal.host, refusal.port, host))
        moved = isinstance(refusal, MovedError)
        if moved:
            self._slots[refusal.slot_id] = server
            self._look_soon()
        server.take(asked._replace(asking=not moved, hops=asked.hops + 1))
        return True

    def _look_soon(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        await asyncio.sleep(PAUSE)
        try:
            await self._look()
        except StoreUnavailableError:
            return  # who asks next will start it again

    async def _look(self, doubted: Server | None = None) -> None:
        """Ask the servers, in any order, until one tells which master has which slots."""
        hosts = list({*self._seeds, *self._servers})
        random.shuffle(hosts)  # so that one that hangs does not delay every look
        if doubted is not None:
            hosts.sort(key=lambda host: self._servers.get(host) is doubted)
        error = StoreUnavailableError("no server of the Redis Cluster tells in time who has which slots")
        for host in hosts:
            try:
                async with asyncio.timeout(self._look_within):
                    ranges = await self._at(host).ask("CLUSTER", "SLOTS")
            except TimeoutError:
                continue
            except StoreUnavailableError as failed:
                error = failed
            else:
                if ranges:  # else it was made anew, and does not know the others
                    self._note(host, ranges)
                    return
        raise error

    def _note(self, host: Host, ranges: Sequence[Sequence[Any]]) -> None:
        """Take in what ``host`` told: of each range of slots its first, its last, its master and replicas."""
        slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        present: set[Host] = set()
        for first, last, *servers in ranges:
            hosts = [_host(server, host) for server in servers]
            slots[first : last + 1] = [self._at(hosts[0])] * (last + 1 - first)
            present.update(hosts)
        self._slots = slots
        self.masters = list(dict.fromkeys(server for server in slots if server is not None))
        for known in present:
            self._at(known)  # a replica is only asked for the slots
        for gone in self._servers.keys() - present:
            leaving = asyncio.create_task(self._servers.pop(gone).aclose())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)


def _host(server: Sequence[Any], told_by: Host) -> Host:
    """Return the address of a server in the reply."""
    name, port, *_ = server
    return _address((name or b"").decode(), port, told_by)


def _address(name: str, port: int, told_by: Host) -> Host:
    """Return an address as it is told; a server whose name is not known is where the teller is."""
    return (name if name not in ("", "?") else told_by[0], port)


def _key(command: Sequence[Part]) -> Part | None:
    name = command[0]
    if name in ("EVALSHA", "EVAL"):
        return command[3] if command[2] else None
    if name in _KEYLESS:
        return None
    return command[2 if name == "MEMORY" else 1]


def _slot(key: Part) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
