"""Dead letters in the queue, and what became of them in the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from prometheus_client import CollectorRegistry

from claimbus.broker.codec import Letter
from claimbus.broker.topology import DEADLETTERS, message_counts
from claimbus.database import kept, letters
from claimbus.database.letters import EVERYTHING, DeadLetter
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.recorder import Recorder
from claimbus.events.event import Event
from claimstore.compression import expand
from claimstore.record import read_record
from tests.consumers.house import House

CHUNKED = bytes(range(256)) * 4096 + b"and a bit more"
"""A body that lies in chunks."""

BUDGET = 1 << 30

Counted = Callable[[str], float | None]
"""Gives what a metric has counted."""


async def letter(house: House, endpoint: str | None, event: Event) -> Letter:
    """A letter about an event, which is checked in for it."""
    ticket = house.ticket(event, await house.store.check_in(event))
    return Letter(
        body=ticket.body(),
        ticket=ticket,
        endpoint=endpoint,
        cause="rejected",
        detail="answered 422",
        attempts=3,
        status=422,
    )


async def give_up(
    house: House, endpoint: str | None = "ep_1", *, count: int = 1, body: bytes = b"{}"
) -> list[Letter]:
    """Put letters into the queue, each about an event of its own."""
    events = [replace(house.event(), body=body) for _ in range(count)]
    found = [await letter(house, endpoint, event) for event in events]
    await publish(house, *found)
    return found


async def publish(house: House, *found: Letter) -> None:
    await asyncio.gather(*map(house.publisher.publish_letter, found))


@asynccontextmanager
async def recording(
    house: House, *, budget: int = BUDGET, look_every: float = 0.05
) -> AsyncIterator[Counted]:
    """A recorder at work; what it counts can be asked for."""
    registry = CollectorRegistry()
    metrics = LettersMetrics(registry)
    recorder = Recorder(
        house.connection, house.store, house.database, budget=budget, metrics=metrics, look_every=look_every
    )
    running = asyncio.create_task(recorder.run())
    try:
        yield lambda name: registry.get_sample_value(f"claimbus_{name}")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def in_queue(house: House) -> int:
    """How many letters are in the queue and in nobody's hands."""
    counts = (await message_counts(house.connection, [DEADLETTERS]))[DEADLETTERS]
    assert counts is not None
    return counts.messages


async def waits(house: House, count: int) -> bool:
    """Whether so many letters are in the queue and in nobody's hands."""
    return await in_queue(house) == count


async def recorded(house: House, *, at_least: int = 0) -> list[DeadLetter] | None:
    """All letters in the database, oldest first, once there are so many."""
    page = await house.database.read(lambda sql: letters.find(sql, EVERYTHING, limit=10_000))
    return list(reversed(page.rows)) if len(page.rows) >= at_least else None


async def kept_body(house: House, claim_id: str | None) -> bytes | None:
    """The body that is kept of a claim, whole; None when none is kept."""
    one = await house.database.read(lambda sql: kept.get(sql, claim_id or ""))
    if one is None:
        return None
    claim = read_record(one.claim_id, one.record, expires=0)
    chunks = [
        await house.database.read(partial(kept.chunk, claim_id=one.claim_id, number=number))
        for number in range(one.chunks)
    ]
    pieces = (expand(claim.encoding, data, limit=claim.size) for data in chunks)
    return claim.event.body + b"".join(pieces)
