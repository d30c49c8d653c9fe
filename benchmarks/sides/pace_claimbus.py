"""Publishing with claimbus at a given pace: each event at its own time, however long those before it take."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.bodies import TYPE, read_bodies
from benchmarks.product import participant
from benchmarks.side import Outcome, Pacing, Stopwatch, play, side_by_side
from benchmarks.timer import ticking
from claimbus.broker.publisher import Publisher
from claimbus.events.event import audience_of
from claimstore.identities import Identities
from claimstore.store import LIFE, ClaimStore
from producers.producer import Producer

SETTLING: Final = 50_000_000
"""Nanoseconds until the first event is due."""

Publish = Callable[[int], Awaitable[None]]
"""Publishes the nth event."""


async def pace(order: Pacing) -> Outcome:
    publisher = await Publisher.open(os.environ["CLAIMBUS_AMQP_URL"], window=10_000)
    async with await ClaimStore.open(os.environ["CLAIMBUS_REDIS_URL"], prefix=order.key_prefix) as store:
        identities = Identities(store.connection, life=LIFE)
        producer = Producer(store, identities, publisher, source="//benchmark.example/oms")
        bodies = cycle(read_bodies(Path(order.bodies), order.size))
        audiences = [audience_of([participant(number)]) for number in range(order.participants)]

        async def publish(number: int) -> None:
            audience = audiences[number % order.participants]
            event = replace(producer.event(TYPE, next(bodies), audience=audience), id=str(number))
            await producer.publish(event, fresh=True)

        outcome = await (_paced(order, publish) if order.rate else _at_once(order, publish))
        await publisher.aclose()
        return outcome


async def _paced(order: Pacing, publish: Publish) -> Outcome:
    total, period = round(order.rate * order.seconds), order.period()
    took, published = list[int](), asyncio.Event()

    async def one(number: int, due: int) -> None:
        await publish(number)
        took.append(time.monotonic_ns() - due)
        if len(took) == total:
            published.set()

    watch = Stopwatch()
    begin = time.monotonic_ns() + SETTLING
    numbers = iter(range(total))
    async with asyncio.TaskGroup() as group:

        def due(ticks: int) -> None:
            for number in islice(numbers, ticks):
                group.create_task(one(number, begin + number * period))

        with ticking(begin, period, due):
            await published.wait()
    return watch.outcome(total, begin=begin, period=period, publish_p50_ms=median(took) / 1e6)


async def _at_once(order: Pacing, publish: Publish) -> Outcome:
    numbers, watch = count(), Stopwatch()
    deadline, published = time.monotonic() + order.seconds, 0

    async def one_by_one() -> None:
        nonlocal published
        while time.monotonic() < deadline:
            await publish(next(numbers))
            published += 1

    await side_by_side(order.window, one_by_one)
    return watch.outcome(published)


if __name__ == "__main__":
    play(Pacing, pace)
