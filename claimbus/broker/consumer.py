"""Consuming one queue on a channel of its own, for as long as the owner wants."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from claimbus.broker import codec, frames
from claimbus.broker.channel import Arguments, Channel
from claimbus.broker.codec import Letter
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, TopologyError
from claimbus.broker.frames import Properties
from claimbus.broker.ledger import Ledger
from claimbus.broker.patience import pause, tries
from claimbus.broker.quarantine import answers
from claimbus.events.ticket import Ticket

_log = logging.getLogger(__name__)

_TAG: Final = "claimbus"


class Delivery:
    """One message from a queue, to be acked or handed back. All but its body is read when asked for."""

    __slots__ = ("_header", "_method", "_session", "body", "tag")

    def __init__(self, session: "_Session", method: bytes, header: bytes, body: bytes) -> None:
        self._session = session
        self._method = method
        self._header = header
        self.tag = frames.read_tag(method)
        self.body = body

    @property
    def queue(self) -> str:
        """Where it was consumed."""
        return self._session.queue

    @property
    def routing_key(self) -> str:
        """The key that it was published with; an endpoint's ID after ``redeliver``."""
        return frames.read_deliver(self._method).routing_key

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before and came back into the queue."""
        return frames.read_deliver(self._method).redelivered

    @property
    def properties(self) -> Properties:
        """Message ID, type, timestamp and headers, RabbitMQ's own among them."""
        return frames.read_properties(self._header)

    @property
    def void(self) -> bool:
        """Whether its channel is gone: RabbitMQ delivers it again, and settling it does nothing."""
        return not self._session.live

    def ticket(self) -> Ticket:
        """Read it as a ticket. Raises InvalidTicketError."""
        return codec.read_ticket_once(self._header, self.body)

    def letter(self) -> Letter:
        """Read it as a dead letter; nothing is refused."""
        method = frames.read_deliver(self._method)
        return codec.read_letter(
            self.properties, self.body, exchange=method.exchange, routing_key=method.routing_key
        )

    def ack(self) -> None:
        """Say that it is done with. Nothing happens when it is void or was settled before."""
        self._session.ack(self.tag)

    def requeue(self) -> None:
        """Hand it back. Nothing happens when it is void or was settled before."""
        self._session.requeue(self.tag)


OnDelivery = Callable[[Delivery], None]
OnVoid = Callable[[str], None]


class Consumer:
    """Gives a queue's deliveries to a callback, over reconnects, until it is stopped.

    Each has a channel of its own: RabbitMQ closes a channel with all its consumers when one holds a delivery
    too long.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: _Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._paused = False

    @property
    def consuming(self) -> bool:
        """Whether deliveries can come at this moment."""
        return self._session is not None and self._session.live and not self._paused

    @property
    def unsettled(self) -> int:
        """How many deliveries the owner has."""
        return 0 if self._session is None else len(self._session.ledger)

    async def start(
        self,
        queue: str | Callable[[Channel], Awaitable[str]],
        *,
        prefetch: int,
        on_delivery: OnDelivery,
        on_void: OnVoid | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        """Consume ``queue``, or the one that a coroutine declares and names on every new channel.

        ``on_delivery`` is called in the turn of the loop in which the bytes arrive; it should return at once.
        What it raises is logged, and the delivery handed back. At most ``prefetch`` deliveries are unsettled.
        ``on_void`` is called with a reason when all deliveries that the owner holds became void: the channel
        or connection is lost, the queue was deleted, or one was held for too long. They come again: consuming
        goes on by itself as soon as it can.

        Raises TopologyError when there is no such queue and BrokerUnavailableError when it does not answer.
        """

        def take(delivery: Delivery) -> None:
            if not self._paused:
                on_delivery(delivery)

        async def open_session() -> _Session:
            channel = await self._connection.channel()
            try:
                name = queue if isinstance(queue, str) else await queue(channel)
                session = _Session(channel, name, take, on_void)
                await session.consume(prefetch, arguments)
            except BaseException:
                channel.abandon()
                raise
            return session

        async def open_again() -> _Session:
            # Who consumes a queue that hangs is closed the whole connection, a minute later.
            if isinstance(queue, str) and not await answers(self._connection, queue):
                raise BrokerUnavailableError(f"{queue} does not answer")
            return await open_session()

        self._session = await open_session()
        self._keeper = asyncio.create_task(self._keep(open_again))

    def pause(self) -> None:
        """Give the owner no more deliveries; those that it holds can still be settled.

        What comes from now on waits, unsettled, for `stop` to hand it back. Nothing is cancelled: RabbitMQ
        would let the next consumer of an ordered queue overtake what is held here.
        """
        self._paused = True
        if self._keeper is not None:
            self._keeper.cancel()

    async def stop(self) -> None:
        """Have no more deliveries, and hand back all that are unsettled, in their order.

        When more than 32 acks left in the last milliseconds, RabbitMQ may not have passed all of them on to
        the queue and forget the rest: these are delivered again.
        """
        self.pause()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        if self._session is not None:
            await self._session.close()

    async def _keep(self, open_session: Callable[[], Awaitable["_Session"]]) -> None:
        loop = asyncio.get_running_loop()
        while self._session is not None:
            opened = loop.time()
            await self._session.wait_void()
            await pause(loop.time() - opened)
            async for attempt in tries(
                f"consuming {self._session.queue}", BrokerUnavailableError, TopologyError
            ):
                with attempt:
                    await self._connection.wait_open()
                    self._session = await open_session()


class _Session:
    """Consuming on one channel. Delivery tags mean something only here."""

    def __init__(self, channel: Channel, queue: str, on_delivery: OnDelivery, on_void: OnVoid | None) -> None:
        self.queue = queue
        self.ledger = Ledger()
        self.live = True
        self._channel = channel
        self._on_delivery = on_delivery
        self._on_void = on_void
        self._loop = asyncio.get_running_loop()
        self._void: asyncio.Future[None] = self._loop.create_future()
        self._consuming = False
        self._flushing = False

    async def consume(self, prefetch: int, arguments: Arguments | None) -> None:
        channel = self._channel
        channel.on_closed(lambda reason: self._lost(str(reason)))
        channel.on_cancelled(lambda: self._lost("RabbitMQ cancelled the consumer: its queue is gone"))
        try:
            await channel.qos(prefetch)
            await channel.consume(self.queue, self._take, tag=_TAG, arguments=arguments)
        except BaseException:
            self.live = False
            raise
        self._consuming = True

    async def wait_void(self) -> None:
        await asyncio.shield(self._void)

    async def close(self) -> None:
        """Close the channel: RabbitMQ puts what is unsettled back into the queue, lowest tag first."""
        self._flush()
        self.live = False
        await self._channel.close()

    def ack(self, tag: int) -> None:
        if self.live and self.ledger.ack(tag) and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def requeue(self, tag: int) -> None:
        if self.live and self.ledger.settle(tag):
            self._channel.write(frames.requeue(self._channel.number, tag))

    def _take(self, method: bytes, header: bytes, body: bytes) -> None:
        if not self.live:
            return  # it was on its way when the channel was given up
        delivery = Delivery(self, method, header, body)
        self.ledger.deliver(delivery.tag)
        try:
            self._on_delivery(delivery)
        except Exception:  # noqa: BLE001 - the owner's mistake must not cost the connection
            _log.exception("a delivery from %s was not taken", self.queue)
            delivery.requeue()

    def _flush(self) -> None:
        self._flushing = False
        number = self._channel.number
        self._channel.write(
            b"".join(frames.ack(number, tag, multiple) for tag, multiple in self.ledger.take_acks())
        )

    def _lost(self, reason: str) -> None:
        if not self.live:
            return
        self.live = False
        self._void.set_result(None)
        self._channel.abandon()
        if not self._consuming and not self.ledger:
            return  # whoever began to consume hears of it
        self.ledger = Ledger()
        _log.info("deliveries from %s are void: %s", self.queue, reason)
        if self._on_void is not None:
            self._loop.call_soon(self._on_void, reason)
