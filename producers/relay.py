"""From an outbox to the bus, in order. What was not confirmed stays in the outbox.

An event is taken out after its confirm. One that was published just before a crash is published again and
recognised by its source and ID.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from claimbus.events.errors import ConfigurationError, InvalidInputError
from producers.outbox import Outbox, Waiting
from producers.producer import Producer

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 64 << 20
"""How much is under way at once, unless a single body is larger."""


@dataclass(slots=True)
class Relayed:
    """What a relay did: events published, events that had been published before, and those set aside."""

    published: int = 0
    known: int = 0
    set_aside: int = 0


async def relay(
    outbox: Outbox, producer: Producer, *, progress: Callable[[Relayed], None] = lambda _: None
) -> Relayed:
    """Publish what waits until nothing does.

    Events of one source and ``partitionkey`` go strictly in the order in which they were put, others side by
    side. One that can never be published (its ID was used with another body, say) is set aside with its
    reason, and those behind it go on.

    Raises OutboxBusyError, OutboxError, and what `Producer.publish` raises when Redis or RabbitMQ is away:
    what was not confirmed still waits.
    """
    relayed = Relayed()
    with outbox.alone():
        while batch := await asyncio.to_thread(outbox.oldest, count=BATCH_EVENTS, size=BATCH_BYTES):
            await _carry(batch, outbox, producer, relayed)
            progress(relayed)
    return relayed


async def _carry(batch: list[Waiting], outbox: Outbox, producer: Producer, relayed: Relayed) -> None:
    by_key: defaultdict[tuple[str, str | None], list[Waiting]] = defaultdict(list)
    for waiting in batch:
        by_key[waiting.key].append(waiting)
    done: list[int] = []
    set_aside: list[tuple[int, str]] = []

    async def publish_in_order(several: list[Waiting]) -> None:
        for one in several:
            try:
                receipt = await producer.publish(one.event())
            except ConfigurationError:
                raise
            except InvalidInputError as never:
                set_aside.append((one.number, str(never)))
            else:
                done.append(one.number)
                relayed.published += receipt.published
                relayed.known += not receipt.published

    try:
        ended = await asyncio.gather(*map(publish_in_order, by_key.values()), return_exceptions=True)
    finally:
        relayed.set_aside += len(set_aside)
        await asyncio.to_thread(outbox.settle, done=done, set_aside=set_aside)
    for failure in ended:
        if failure is not None:
            raise failure
