"""One AMQP channel with awaitable operations, each bounded."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from pika.channel import Channel as PikaChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from claimbus.broker import errors
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.transport import OnConfirm, OnContent, Transport

Arguments = Mapping[str, object]
OnReturn = Callable[[str, str, str | None], None]
"""Called with the exchange, routing key and message ID of a message that no queue took."""


class QueueCounts(NamedTuple):
    """What RabbitMQ says of a queue when it is declared: ready messages and consumers."""

    name: str
    messages: int
    consumers: int


class Channel:
    """A channel that was opened by `claimbus.broker.connection.Connection`.

    Every operation raises BrokerUnavailableError when the channel closes meanwhile or the answer takes longer
    than the bound, and TopologyError when RabbitMQ refuses it. The channel is closed after either. As an
    async context manager it closes itself.
    """

    def __init__(self, pika_channel: PikaChannel, transport: Transport, answer_timeout: float) -> None:
        self._pika = pika_channel
        self._transport = transport
        self._answer_timeout = answer_timeout
        self._waiting: set[asyncio.Future[Any]] = set()
        self._on_closed: list[Callable[[Exception], None]] = []
        self.number: int = pika_channel.channel_number
        self.frame_max: int = transport.params.frame_max
        self._closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        pika_channel.add_on_close_callback(self._close)

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether operations can be sent."""
        return bool(self._pika.is_open)

    def on_closed(self, callback: Callable[[Exception], None]) -> None:
        """Call back in the moment in which the channel closes, before anything else can run."""
        self._on_closed.append(callback)

    def write(self, data: bytes) -> None:
        """Send whole frames of this channel; nothing happens once it is closed."""
        if self._pika.is_open:
            self._transport.write(data)

    async def wait_closed(self) -> Exception:
        """Wait until the channel is closed, by whomever, and return why, in pika's words."""
        return await asyncio.shield(self._closed)

    async def declare_exchange(
        self, name: str, kind: Literal["fanout", "direct", "topic"], arguments: Arguments | None = None
    ) -> None:
        """Declare a durable exchange."""
        await self._call(
            f"declaring exchange {name}",
            lambda done: self._pika.exchange_declare(
                name, exchange_type=kind, durable=True, arguments=dict(arguments or {}), callback=done
            ),
        )

    async def declare_queue(self, name: str, arguments: Arguments) -> QueueCounts:
        """Declare a durable queue."""
        return await self._declare_queue(name, durable=True, arguments=arguments)

    async def declare_exclusive_queue(self) -> str:
        """Declare a queue that goes with this connection, and return the name that RabbitMQ gave it."""
        return (await self._declare_queue("", exclusive=True)).name

    async def count(self, queue: str) -> QueueCounts:
        """Ask for a queue's counts (a passive declare). Raises TopologyError when there is no such queue.

        A quorum queue that does not answer is given as empty, with no consumers, after 250 ms.
        """
        return await self._declare_queue(queue, passive=True)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with what is in it; one that is not there is fine."""
        await self._call(f"deleting queue {name}", lambda done: self._pika.queue_delete(name, callback=done))

    async def bind(self, queue: str, exchange: str, key: str = "") -> None:
        """Bind a queue; a binding that is there is fine."""
        await self._call(
            f"binding queue {queue} to {exchange}",
            lambda done: self._pika.queue_bind(queue, exchange, key, callback=done),
        )

    async def unbind(self, queue: str, exchange: str, key: str = "") -> None:
        """Unbind a queue; a binding that is not there is fine."""
        await self._call(
            f"unbinding queue {queue} from {exchange}",
            lambda done: self._pika.queue_unbind(queue, exchange, key, callback=done),
        )

    async def qos(self, prefetch: int) -> None:
        """Let each new consumer have this many unacked deliveries."""
        await self._call(
            "setting the prefetch", lambda done: self._pika.basic_qos(prefetch_count=prefetch, callback=done)
        )

    async def consume(
        self, queue: str, on_content: OnContent, *, tag: str, arguments: Arguments | None = None
    ) -> None:
        """Start this channel's one consumer, with acks."""
        self._transport.on_content(self.number, on_content)
        await self._call(
            f"consuming {queue}",
            lambda done: self._pika.basic_consume(
                queue, _never, consumer_tag=tag, arguments=dict(arguments or {}), callback=done
            ),
        )

    def on_cancelled(self, callback: Callable[[], None]) -> None:
        """Call back when RabbitMQ cancels the consumer, as it does when the queue is deleted."""
        self._pika.add_on_cancel_callback(lambda _frame: callback())

    async def confirm(self, on_confirm: OnConfirm, on_return: OnReturn) -> None:
        """Turn publisher confirms on."""
        self._transport.on_confirm(self.number, on_confirm)

        def returned(_: PikaChannel, method: Basic.Return, found: BasicProperties, _body: bytes) -> None:
            on_return(method.exchange, method.routing_key, found.message_id)

        self._pika.add_on_return_callback(returned)
        await self._call(
            "turning confirms on", lambda done: self._pika.confirm_delivery(_never, callback=done)
        )

    def abandon(self) -> None:
        """Close the channel without waiting; one that is closed is fine."""
        if self._pika.is_open:
            # pika would cancel the consumer first, and the next one of an ordered queue would overtake it.
            self._pika._consumers.clear()  # noqa: SLF001
            self._pika.close()

    async def close(self) -> None:
        """Close the channel, after everything that was written before; one that is closed is fine."""
        self.abandon()
        await asyncio.wait([self._closed], timeout=self._answer_timeout)

    async def _declare_queue(
        self,
        name: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        arguments: Arguments | None = None,
    ) -> QueueCounts:
        answer = await self._call(
            f"declaring queue {name}",
            lambda done: self._pika.queue_declare(
                name, passive, durable, exclusive, arguments=dict(arguments or {}), callback=done
            ),
        )
        return QueueCounts(answer.queue, answer.message_count, answer.consumer_count)

    async def _call(self, what: str, send: Callable[[Callable[[Any], None]], object]) -> Any:  # noqa: ANN401
        """Send an operation and return the method that answers it."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(frame: Any) -> None:  # noqa: ANN401
            if not answer.done():
                answer.set_result(frame.method)

        self._waiting.add(answer)
        try:
            send(done)
            async with asyncio.timeout(self._answer_timeout):
                return await answer
        except TimeoutError as late:
            self.abandon()
            raise BrokerUnavailableError(f"{what}: no answer within {self._answer_timeout:g} s") from late
        except AMQPError as error:
            raise errors.closed(error, what) from error
        finally:
            self._waiting.discard(answer)

    def _close(self, _: PikaChannel, reason: Exception) -> None:
        self._transport.forget(self.number)
        for callback in self._on_closed:
            callback(reason)
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(reason)
        self._closed.set_result(reason)


def _never(*_: object) -> None:
    """Stand in where pika wants a callback for frames that `Transport` takes past it."""
