"""Delivering as one would write it by hand: the body on the message, aio-pika consumers, aiohttp POSTs.

One queue and one channel an endpoint; a message is acknowledged when its signed POST was answered well.
Nothing is recorded, retried or held.
"""

import asyncio
import base64
import os
import ssl
from datetime import UTC, datetime
from importlib.metadata import version

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from standardwebhooks import Webhook

from benchmarks.side import ACKNOWLEDGED, Delivering, Outcome, Stopwatch, play


class Deliveries:
    """Counts the acknowledged ones until all have been."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self.all = asyncio.Event()

    def count_one(self) -> None:
        """Note one more."""
        self._left -= 1
        if not self._left:
            self.all.set()


async def deliver(order: Delivering) -> Outcome:
    total = order.endpoints * order.events
    deliveries = Deliveries(total)
    tls = ssl.create_default_context(cafile=order.authority)
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    connection = await aio_pika.connect_robust(os.environ["CLAIMBUS_AMQP_URL"])
    async with connection, aiohttp.ClientSession(connector=connector) as session:
        watch = Stopwatch()
        for number in range(order.endpoints):
            await _consume(connection, session, order, number, deliveries)
        await deliveries.all.wait()
        return watch.outcome(
            total,
            client=f"aio-pika {version('aio-pika')}, aiohttp {version('aiohttp')}, uvloop",
            message="body",
            prefetch=f"{order.prefetch} a queue",
            delivery=ACKNOWLEDGED,
            recorded="nothing",
        )


async def _consume(
    connection: AbstractRobustConnection,
    session: aiohttp.ClientSession,
    order: Delivering,
    number: int,
    deliveries: Deliveries,
) -> None:
    url = f"{order.sink}/{number}"
    webhook = Webhook("whsec_" + base64.b64encode(number.to_bytes(24)).decode())

    async def receive(message: AbstractIncomingMessage) -> None:
        identity, now = message.message_id or "", datetime.now(UTC)
        headers = {
            "content-type": message.content_type or "",
            "webhook-id": identity,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": webhook.sign(identity, now, message.body.decode()),
        }
        async with session.post(url, data=message.body, headers=headers) as response:
            response.raise_for_status()
        await message.ack()
        deliveries.count_one()

    channel = await connection.channel()
    await channel.set_qos(prefetch_count=order.prefetch)
    queue = await channel.get_queue(order.queue(number), ensure=False)
    await queue.consume(receive)


if __name__ == "__main__":
    play(Delivering, deliver)
