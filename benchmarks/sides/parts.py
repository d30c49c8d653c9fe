"""The bare parts of a delivery, one after another, an event at a time: SET, publish and consume, GET, POST.

Nothing is checked, signed or recorded. RabbitMQ is spoken to with claimbus's own connection, which is the
quickest from Python; a message is persistent and confirmed, and comes from a durable quorum queue.
"""

import asyncio
import os
import secrets
import time
from itertools import cycle
from pathlib import Path
from typing import Final

from pyreqwest.client import ClientBuilder
from redis.asyncio import Redis

from benchmarks.bodies import read_bodies
from benchmarks.side import Delivering, Outcome, Stopwatch, play
from benchmarks.spread import Spread
from claimbus.broker import frames
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.frames import Message
from claimbus.broker.publisher import Publisher

PAUSE: Final = 0.004
"""Seconds between two events: the servers are as idle as at a slow pace."""

QUEUE: Final = "parts"
"""The exchange's and the routing key's name too."""

PARTS: Final = ("SET", "publish and consume", "GET", "POST")


async def parts(order: Delivering) -> Outcome:
    url = os.environ["CLAIMBUS_AMQP_URL"]
    publisher, connection = await Publisher.open(url), await Connection.open(url, name="parts")
    consumer, arrived = Consumer(connection), asyncio.Queue[Delivery]()
    await consumer.start(QUEUE, prefetch=10, on_delivery=arrived.put_nowait)
    bodies = cycle(read_bodies(Path(order.bodies), order.size))
    took: list[tuple[int, int, int, int]] = []
    async with (
        Redis.from_url(os.environ["CLAIMBUS_REDIS_URL"]) as redis,
        ClientBuilder().no_proxy().build() as client,
    ):
        watch = Stopwatch()
        for _ in range(order.events):
            await asyncio.sleep(PAUSE)
            claim_id, body = secrets.token_urlsafe(16), next(bodies)
            key = f"{order.key_prefix}claim:{{{claim_id}}}"
            begun = time.monotonic_ns()
            await redis.set(key, body, ex=600)
            was_set = time.monotonic_ns()
            properties = frames.properties(content_type="application/octet-stream", headers={})
            confirmed = publisher.send(Message(QUEUE, QUEUE, properties, claim_id.encode()))
            delivery = await arrived.get()
            consumed = time.monotonic_ns()
            found = await redis.get(key)
            read = time.monotonic_ns()
            if found != body:
                raise SystemExit("Redis gave back something else")
            response = await client.post(f"{order.sink}/0").body_bytes(body).build().send()
            response.error_for_status()
            posted = time.monotonic_ns()
            delivery.ack()
            await confirmed
            took.append((was_set - begun, consumed - was_set, read - consumed, posted - read))
        await consumer.stop()
        await publisher.aclose()
        await connection.aclose()
        whole = Spread.of([sum(one) for one in took])
        each = {
            part: Spread.of(times).p50 for part, times in zip(PARTS, zip(*took, strict=True), strict=True)
        }
        return watch.outcome(order.events, p50=whole.p50, p99=whole.p99, p999=whole.p999, **each)


if __name__ == "__main__":
    play(Delivering, parts)
