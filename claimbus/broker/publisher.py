"""Publishing with confirms, many in flight, on a connection of its own."""

import asyncio
import logging
import ssl
from collections import deque
from typing import Final

from claimbus.broker import codec, frames
from claimbus.broker.channel import Channel
from claimbus.broker.codec import Announcement, Letter, What
from claimbus.broker.connection import OPEN_WITHIN, Connection
from claimbus.broker.errors import (
    BrokerBlockedError,
    BrokerUnavailableError,
    NackedError,
    TopologyError,
    UnconfirmedError,
)
from claimbus.broker.frames import Message
from claimbus.broker.patience import pause, tries
from claimbus.broker.topology import Rung, Topology, declare
from claimbus.broker.window import Window
from claimbus.events.errors import UnavailableError
from claimbus.events.routing import Route
from claimbus.events.ticket import Ticket

_log = logging.getLogger(__name__)

WINDOW: Final = 500
CONFIRM_TIMEOUT: Final = 30.0
"""Seconds of silence after which a message counts as unconfirmed."""


class Publisher:
    """Publishes mandatory, persistent messages; a publish has succeeded when RabbitMQ confirmed it.

    Made by `open`, ended by `aclose`. The connection opens again by itself. A message that was unconfirmed
    for ``confirm_timeout`` makes the publisher give the connection up: a queue that lost its leader holds
    back what was sent before and after it on the same channel.
    """

    def __init__(
        self, connection: Connection, topology: Topology | None, window: int, confirm_timeout: float
    ) -> None:
        self.connection = connection
        self._topology = topology
        self._size = window
        self._confirm_timeout = confirm_timeout
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._window = Window()
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        connection.on_blocked(lambda _: self._wake())

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        name: str = "publisher",
        tls: ssl.SSLContext | None = None,
        topology: Topology | None = None,
        window: int = WINDOW,
        confirm_timeout: float = CONFIRM_TIMEOUT,
        within: float = OPEN_WITHIN,
    ) -> "Publisher":
        """Connect, and declare ``topology`` now and after every loss, if one is given.

        ``window`` is how many messages may be unconfirmed at a time; times are in seconds. The rest, and the
        errors, are those of `Connection.open`; TopologyError too.
        """
        connection = await Connection.open(url, name=name, tls=tls, within=within)
        publisher = cls(connection, topology, window, confirm_timeout)
        try:
            async for attempt in tries("opening a channel", BrokerUnavailableError, within=within):
                with attempt:
                    channel = await publisher._ready()
        except BaseException:
            await connection.aclose()
            raise
        publisher._keeper = asyncio.create_task(publisher._keep(channel), name=f"{name}: keeps its channel")
        publisher._sweep()
        return publisher

    @property
    def unconfirmed(self) -> int:
        """How many messages are in flight."""
        return len(self._window)

    @property
    def has_place(self) -> bool:
        """Whether `send` would send now: connected, not blocked, and the window is not full."""
        return (
            self._channel is not None and self.connection.blocked is None and len(self._window) < self._size
        )

    async def place(self, within: float = CONFIRM_TIMEOUT) -> None:
        """Wait until `has_place`. Raises BrokerBlockedError or BrokerUnavailableError at the bound."""
        deadline = self._loop.time() + within
        while not self.has_place:
            if self._closed:
                raise BrokerUnavailableError("the publisher is closed")
            waiter = self._loop.create_future()
            self._waiting.append((deadline, waiter))
            await waiter

    def send(self, message: Message) -> asyncio.Future[None]:
        """Send without waiting, even beyond the window; the future is resolved by the confirm.

        It fails with UnconfirmedError (NackedError among them), UnroutableError, BrokerBlockedError, or
        BrokerUnavailableError when there is no connection at the moment. Raises InvalidInputError when the
        message does not fit AMQP's limits.
        """
        future = self._loop.create_future()
        channel = self._channel
        if channel is None:
            kind, why = self._refusal()
            future.set_exception(kind(why))
            return future
        channel.write(frames.publish(channel.number, channel.frame_max, message))
        self._window.add(future, message)
        return future

    async def publish(self, message: Message, *, within: float | None = None) -> None:
        """Send a message when there is a place, and wait until it is confirmed.

        What was lost with a connection, or met with silence, is sent again on a fresh one, so it may arrive
        more than once. No try begins after ``within`` seconds (default: twice the confirm timeout), and one
        lasts as long as the confirm timeout at most. Raises what `place` and `send` say.
        """
        deadline = self._loop.time() + (2 * self._confirm_timeout if within is None else within)
        while True:
            if not self.has_place:
                await self.place(deadline - self._loop.time())
            try:
                return await self.send(message)
            except NackedError:
                raise
            except (UnconfirmedError, BrokerUnavailableError) as error:
                if self._loop.time() >= deadline:
                    raise
                _log.info("publishing %s again: %s", message.message_id, error)

    async def publish_ticket(self, ticket: Ticket, route: Route, *, within: float | None = None) -> None:
        """Publish a new ticket to everybody who is subscribed and entitled to it."""
        await self.publish(codec.ticket_message(ticket, route), within=within)

    async def publish_retry(self, ticket: Ticket, rung: Rung) -> None:
        """Bring a delivery back to ``ticket.endpoint`` after the rung's delay."""
        await self.publish(codec.retry_message(ticket, rung))

    async def publish_redelivery(self, ticket: Ticket) -> None:
        """Bring a replay, recovery or test event to ``ticket.endpoint`` now."""
        await self.publish(codec.redelivery_message(ticket))

    async def publish_letter(self, letter: Letter) -> None:
        """Give a delivery up: put it into ``deadletters``."""
        await self.publish(codec.letter_message(letter))

    async def announce(self, endpoint: str, what: What) -> None:
        """Tell every worker something at once, of an endpoint or (then that is empty) of the workers."""
        await self.publish(codec.announcement_message(Announcement(endpoint, what)))

    async def aclose(self) -> None:
        """Wait for outstanding confirms, bounded by the confirm timeout, and close for good."""
        if outstanding := self._window.futures():
            await asyncio.wait(outstanding, timeout=self._confirm_timeout)
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self.connection.aclose()
        self._closed = True
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _keep(self, channel: Channel) -> None:
        while True:
            opened = self._loop.time()
            await channel.wait_closed()
            await pause(self._loop.time() - opened)
            async for attempt in tries(
                f"{self.connection.name}: opening a channel", UnavailableError, TopologyError
            ):
                with attempt:
                    await self.connection.wait_open()
                    channel = await self._ready()

    async def _ready(self) -> Channel:
        channel = await self.connection.channel()
        if self._topology is not None:
            await declare(channel, self._topology)
        window = Window()

        def lost(reason: Exception) -> None:
            self._channel = None
            window.fail(UnconfirmedError, f"lost before the confirm: {reason}")

        def settle(tag: int, multiple: bool, acked: bool) -> None:
            window.settle(tag, multiple, acked)
            if self._waiting:
                self._wake()

        channel.on_closed(lost)
        await channel.confirm(settle, window.returned)
        self._channel, self._window = channel, window
        self._wake()
        return channel

    def _wake(self) -> None:
        """Let as many go on as there are places; who finds his taken waits again."""
        places = self._size - len(self._window) if self.has_place else 0
        while self._waiting and places > 0:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                places -= 1

    def _sweep(self) -> None:
        """Notice silence and waits that took too long, for all messages with one timer."""
        now = self._loop.time()
        self._timer = self._loop.call_later(min(1.0, self._confirm_timeout / 4), self._sweep)
        kind, why = self._refusal()
        if self._window.overdue(now, self._confirm_timeout):
            if kind is BrokerBlockedError:
                self._window.fail(kind, why)
            else:
                self.connection.abandon(f"no confirm within {self._confirm_timeout:g} s")
        for deadline, waiter in self._waiting:
            if deadline <= now and not waiter.done():
                waiter.set_exception(kind(why))
        self._waiting = deque(entry for entry in self._waiting if not entry[1].done())

    def _refusal(self) -> tuple[type[UnavailableError], str]:
        """Return the error for who waits in vain."""
        if self.connection.blocked is not None:
            return BrokerBlockedError, f"RabbitMQ takes no messages: {self.connection.blocked}"
        if self._channel is None:
            return BrokerUnavailableError, "the connection to RabbitMQ is lost at the moment"
        return BrokerUnavailableError, f"{len(self._window)} messages are unconfirmed, and no more may be"
