"""Removing an endpoint's queue: nothing in it is lost, and no publisher is hurt."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from claimbus.broker import topology
from claimbus.broker.channel import Channel
from claimbus.broker.codec import ENDPOINT_GONE
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.publisher import Publisher
from claimbus.broker.quarantine import answers
from claimbus.events.routing import Binding

SETTLE: Final = 2.0
"""Seconds without a delivery after which nothing more is on its way into an unbound queue."""

_PREFETCH: Final = 500


async def remove_endpoint(
    connection: Connection,
    publisher: Publisher,
    queue: str,
    endpoint_id: str,
    bindings: Iterable[Binding],
    *,
    settle: float = SETTLE,
    within: float = 30.0,
) -> int:
    """Unbind a queue, make dead letters of what is in it, delete it; return how many they were.

    Deleting a bound queue closes the connections of publishers with messages in flight (541), and deleting
    one with messages dead-letters nothing. ``bindings`` are all that it may have. Its workers have stopped
    consuming, or do so ``within`` seconds: BrokerUnavailableError is raised otherwise, and removing can be
    tried again at any point. A queue that is not there is fine.
    """
    if (await topology.message_counts(connection, [queue]))[queue] is None:
        return 0
    moved = 0
    async with await connection.channel() as channel:
        await topology.unbind_endpoint(channel, queue, endpoint_id, bindings)
        await _wait_until_unconsumed(channel, queue, within)
        while True:
            moved += await _drain(connection, publisher, queue, endpoint_id, settle)
            await _wait_until_unconsumed(channel, queue, within)  # what was on its way to us is back by then
            if not await answers(connection, queue):
                raise BrokerUnavailableError(f"{queue} does not answer: it may not be empty")
            if not (await channel.count(queue)).messages:
                break
        await channel.delete_queue(queue)
    return moved


async def _wait_until_unconsumed(channel: Channel, queue: str, within: float) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while consumers := (await channel.count(queue)).consumers:
        if asyncio.get_running_loop().time() > deadline:
            raise BrokerUnavailableError(f"{queue} still has {consumers} consumers; stop its workers first")
        await asyncio.sleep(0.1)


async def _drain(
    connection: Connection, publisher: Publisher, queue: str, endpoint_id: str, settle: float
) -> int:
    """Publish everything that comes as dead letters until nothing comes for ``settle`` seconds."""
    deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
    consumer = Consumer(connection)
    await consumer.start(queue, prefetch=_PREFETCH, on_delivery=deliveries.put_nowait)
    moved = 0
    try:
        while batch := await _next(deliveries, settle):
            letters = [
                replace(delivery.letter(), cause=ENDPOINT_GONE, endpoint=endpoint_id) for delivery in batch
            ]
            await asyncio.gather(*map(publisher.publish_letter, letters))
            for delivery in batch:
                delivery.ack()
            moved += len(batch)
    finally:
        await consumer.stop()
    return moved


async def _next(deliveries: asyncio.Queue[Delivery], settle: float) -> list[Delivery]:
    """Return all deliveries that are there, waiting for the first; none when none comes."""
    try:
        async with asyncio.timeout(settle):
            batch = [await deliveries.get()]
    except TimeoutError:
        return []
    while not deliveries.empty():
        batch.append(deliveries.get_nowait())
    return batch
