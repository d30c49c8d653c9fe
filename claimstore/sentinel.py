"""Connections to the master that sentinels name, wherever it is by now.

Every new connection asks them. A lost one, or one whose server became a replica, is given up with all that
are idle, so what is asked next finds the new master. One whose server was replaced and has not heard of it
works on, until somebody has reason to doubt it.
"""

import asyncio
import time
from typing import Final

from redis.asyncio.client import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoPermissionError

from claimstore.addresses import Address, GivenTLS, Host, Settings, show
from claimstore.lanes import Part
from claimstore.server import Server

BELIEVED: Final = 1.0
"""Seconds for which a look at the sentinels counts."""


class _Master(SentinelManagedConnection):
    """A connection that is one only if its server says itself that it is the master."""

    async def connect_to(self, address: Host) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        await self.send_command("ROLE")
        try:
            role, *_ = await self.read_response()
        except NoPermissionError:
            return  # a replica would refuse what is written
        if role != b"master":
            await self.disconnect()
            raise Lost(f"{show(address)} is a {role.decode()}, though a sentinel calls it the master")


class _SecureMaster(_Master, GivenTLS):
    pass


class Masters(SentinelConnectionPool):
    """Connections to the master of a service; the first sentinel that knows it in good health is believed."""

    def __init__(self, address: Address, bounds: Settings) -> None:
        self._hosts = address.hosts
        self._asking = asyncio.Lock()
        self._doubted = -BELIEVED
        # Asked one after the other, so that one that is alive gets its turn.
        within = bounds["socket_connect_timeout"] / (len(address.hosts) + 1)
        asking = address.sentinel_settings | bounds
        asking |= {"socket_connect_timeout": within, "socket_timeout": within}
        self._clients = [
            Redis.from_pool(ConnectionPool(host=host, port=port, **asking)) for host, port in address.hosts
        ]
        sentinels = Sentinel([])  # type: ignore[no-untyped-call]
        sentinels.sentinels = list(self._clients)
        secure = "context" in address.settings
        settings = address.settings | bounds
        settings["connection_class"] = _SecureMaster if secure else _Master
        super().__init__(address.service, sentinels, **settings)  # type: ignore[no-untyped-call]

    async def get_master_address(self) -> Host:
        """Ask the sentinels, one after the other. Raises redis-py's ConnectionError.

        One question at a time: redis-py swaps sentinels in its list after each answer, and two that did so at
        once could drop one of them from it.
        """
        try:
            async with self._asking:
                host, port = await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError as unknown:
            asked = ", ".join(map(show, self._hosts))
            raise Lost(f"no sentinel of {asked} names a healthy master {self.service_name!r}") from unknown
        return host, int(port)

    def doubt(self) -> None:
        """Let no connection that there is be used again; what waits for an answer on one still gets it.

        Those of the last second are believed: of many claims that are missing, one has them renewed.
        """
        now = time.monotonic()
        if now - self._doubted < BELIEVED:
            return
        self._doubted = now
        for connection in (*self._available_connections, *self._in_use_connections):
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Return when it can be used. Raises redis-py's ConnectionError."""
        if connection.should_reconnect():  # type: ignore[no-untyped-call]
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)

    async def aclose(self) -> None:
        """Close the connections to the master and to the sentinels."""
        try:
            await super().aclose()
        finally:
            await asyncio.gather(*(client.aclose() for client in self._clients))


class Service(Server):
    """What sentinels watch over: the master of a service, whichever server that is."""

    def __init__(self, address: Address, bounds: Settings, *, answer_within: float, replicas: int) -> None:
        self._pools: list[Masters] = []

        def pool() -> Masters:
            self._pools.append(Masters(address, bounds))
            return self._pools[-1]

        super().__init__(address.service, pool, answer_within=answer_within, replicas=replicas)

    async def look_again(self, _key: Part) -> bool:
        """Have the sentinels asked before anything else is."""
        for pool in self._pools:
            pool.doubt()
        return True
