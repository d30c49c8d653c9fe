"""One AMQP connection that opens itself again."""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from typing import Final

from pika import ConnectionParameters, PlainCredentials, SSLOptions
from pika.channel import Channel as PikaChannel
from pika.exceptions import AMQPError, ConnectionClosedByClient, ConnectionWrongStateError, StreamLostError
from tenacity import AsyncRetrying

from claimbus.broker import address, errors
from claimbus.broker.channel import Channel
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.patience import tries
from claimbus.broker.transport import Transport
from claimbus.events.errors import ConfigurationError

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one try at one host: name, TCP, TLS and AMQP's handshake."""

ANSWER_TIMEOUT: Final = 15.0
"""Seconds for the answer to one operation on a channel."""

OPEN_WITHIN: Final = 15.0
"""Seconds for which the first opening is tried."""

MOST_CHANNELS: Final = 2047
"""RabbitMQ's own limit by default; its word counts once it is connected."""


class Connection:
    """An AMQP connection, opened again by itself after a loss, at any of the URL's hosts.

    Made by `open`, ended by `aclose`. Channels do not outlive a loss: whoever holds one waits for
    `Channel.wait_closed` and asks for another, which comes when the connection is back.
    """

    def __init__(
        self,
        place: address.Address,
        name: str,
        tls: ssl.SSLContext | None,
        heartbeat: int,
        answer_timeout: float,
    ) -> None:
        self.name = name
        self.blocked: str | None = None
        """Why RabbitMQ reads nothing from us (a memory or disk alarm); None when it does."""
        self._place = place
        self._tls = (tls or _tls_1_2()) if place.secure else None
        self._heartbeat = heartbeat
        self._answer_timeout = answer_timeout
        self._transport: Transport | None = None
        self._open = asyncio.Event()
        self._lost: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._on_reopened: list[Callable[[], None]] = []
        self._on_blocked: list[Callable[[str | None], None]] = []
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        name: str,
        tls: ssl.SSLContext | None = None,
        heartbeat: int = 30,
        within: float = OPEN_WITHIN,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> "Connection":
        """Connect to ``amqp(s)://user:password@host1:port,host2:port/vhost``.

        ``name`` is shown in RabbitMQ's lists. ``tls`` is for ``amqps`` (default: the system's authorities,
        TLS 1.2 or newer). Times are in seconds; a dead peer is noticed within ``heartbeat`` and 5 s more.
        Raises ConfigurationError for a wrong URL, credentials, vhost or certificate, and
        BrokerUnavailableError when no host answers ``within`` the bound.
        """
        connection = cls(address.parse(url), name, tls, heartbeat, answer_timeout)
        await connection._begin(within)
        return connection

    async def another(self, name: str) -> "Connection":
        """Open one more to the same place. Raises what `open` raises."""
        other = Connection(self._place, name, self._tls, self._heartbeat, self._answer_timeout)
        await other._begin(OPEN_WITHIN)
        return other

    @property
    def channels(self) -> int:
        """How many channels are open."""
        return 0 if self._transport is None else self._transport.channels

    @property
    def channel_max(self) -> int:
        """How many channels RabbitMQ allows on it."""
        return MOST_CHANNELS if self._transport is None else self._transport.params.channel_max

    @property
    def is_open(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._open.is_set()

    def on_reopened(self, callback: Callable[[], None]) -> None:
        """Call back each time that the connection is back after a loss."""
        self._on_reopened.append(callback)

    def on_blocked(self, callback: Callable[[str | None], None]) -> None:
        """Call back with RabbitMQ's reason when it stops reading from us, and with None when it goes on."""
        self._on_blocked.append(callback)

    async def wait_open(self) -> None:
        """Wait until the connection is up, however long that takes."""
        await self._open.wait()

    async def channel(self) -> Channel:
        """Open a channel, waiting for the connection to be back if it is lost.

        Raises BrokerUnavailableError when neither happens within the bound for answers.
        """
        try:
            async with asyncio.timeout(self._answer_timeout):
                while True:
                    await self._open.wait()
                    try:
                        return await self._open_channel()
                    except AMQPError as error:
                        if self.is_open:
                            raise errors.closed(error, "opening a channel") from error
        except TimeoutError as late:
            raise BrokerUnavailableError(
                f"RabbitMQ at {self._place} gives no channel within {self._answer_timeout:g} s"
            ) from late

    def abandon(self, reason: str) -> None:
        """Drop the connection at once, as if it had been lost, and let it open again."""
        if self._transport is not None and self.is_open:
            self._open.clear()
            self._transport.abandon(StreamLostError(reason))

    async def aclose(self) -> None:
        """Close the connection for good, after what was written before; bounded by the answer timeout."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        transport, self._transport = self._transport, None
        if transport is None or self._lost.done():
            return
        if transport.is_open:
            transport.close()
        await asyncio.wait([self._lost], timeout=self._answer_timeout)
        if not self._lost.done():
            transport.abandon(ConnectionClosedByClient(320, "no answer to closing"))
            await self._lost

    async def _begin(self, within: float) -> None:
        await self._connect(
            tries(f"{self.name}: connecting to RabbitMQ", BrokerUnavailableError, within=within)
        )
        self._keeper = asyncio.create_task(self._keep(), name=f"{self.name}: keeps its connection")

    async def _open_channel(self) -> Channel:
        if self._transport is None:
            raise BrokerUnavailableError(f"the connection to RabbitMQ at {self._place} was closed")
        opened: asyncio.Future[PikaChannel] = asyncio.get_running_loop().create_future()

        def is_open(channel: PikaChannel) -> None:
            if (
                opened.done()
            ):  # whoever wanted it was cancelled; what is raised here would cost the connection
                channel.close()
            else:
                opened.set_result(channel)

        def failed(_: PikaChannel, reason: Exception) -> None:
            if not opened.done():
                opened.set_exception(reason)

        self._transport.channel(on_open_callback=is_open).add_on_close_callback(failed)
        transport = self._transport
        return Channel(await opened, transport, self._answer_timeout)

    async def _keep(self) -> None:
        while True:
            reason = await asyncio.shield(self._lost)
            _log.warning("connection %s to RabbitMQ lost: %s", self.name, reason)
            await self._connect(
                tries(f"{self.name}: connecting to RabbitMQ", BrokerUnavailableError, ConfigurationError)
            )
            _log.info("connection %s to RabbitMQ is back", self.name)
            for callback in self._on_reopened:
                asyncio.get_running_loop().call_soon(callback)

    async def _connect(self, attempts: AsyncRetrying) -> None:
        async for attempt in attempts:
            with attempt:
                await self._try_hosts()

    async def _try_hosts(self) -> None:
        failed: Exception = BrokerUnavailableError("no host to connect to")
        for host, port in random.sample(self._place.hosts, len(self._place.hosts)):
            try:
                self._transport = await self._try(host, port)
            except (BrokerUnavailableError, ConfigurationError) as error:
                failed = error
            else:
                self._open.set()
                return
        raise failed

    async def _try(self, host: str, port: int) -> Transport:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Transport] = loop.create_future()
        self._lost = loop.create_future()

        def failed(_: Transport, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(error)

        transport = Transport(
            self._parameters(host, port),
            on_open=opened.set_result,
            on_open_error=failed,
            on_close=self._on_lost,
        )
        transport.add_on_connection_blocked_callback(
            lambda _, frame: self._set_blocked(frame.method.reason or "blocked")
        )
        transport.add_on_connection_unblocked_callback(lambda _, __: self._set_blocked(None))
        try:
            await asyncio.wait([opened])
        except asyncio.CancelledError:
            with contextlib.suppress(ConnectionWrongStateError):
                transport.close()
            await asyncio.wait([opened])
            if opened.exception() is None:
                await self._lost
            raise
        if error := opened.exception():
            raise errors.opening_failed(error, f"{host}:{port}") from error
        return transport

    def _parameters(self, host: str, port: int) -> ConnectionParameters:
        return ConnectionParameters(
            host=host,
            port=port,
            virtual_host=self._place.vhost,
            credentials=PlainCredentials(self._place.user, self._place.password),
            ssl_options=SSLOptions(self._tls, host) if self._tls else None,
            heartbeat=self._heartbeat,
            socket_timeout=CONNECT_TIMEOUT,
            stack_timeout=CONNECT_TIMEOUT,
            client_properties={"connection_name": self.name, "product": "claimbus"},
        )

    def _on_lost(self, _: Transport, reason: BaseException) -> None:
        self._open.clear()
        self._transport = None
        self._set_blocked(None)
        self._lost.set_result(reason)

    def _set_blocked(self, reason: str | None) -> None:
        if reason == self.blocked:
            return
        self.blocked = reason
        _log.warning(
            "RabbitMQ %s connection %s: %s", "blocks" if reason else "unblocks", self.name, reason or ""
        )
        for callback in self._on_blocked:
            asyncio.get_running_loop().call_soon(callback, reason)


def _tls_1_2() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
