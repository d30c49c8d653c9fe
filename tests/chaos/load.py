"""The publisher, a process, until SIGTERM: ``python -m tests.chaos.load COURSE.json``.

What it is about to publish it writes to ``intended.jsonl``, what was acknowledged to ``ledger.jsonl``. What
was not is published again, the same event, until it is. The next change of an outage is published when the
one before it was acknowledged. The seed and the life's number decide all events, whatever happens.
"""

import asyncio
import hashlib
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from claimbus import ALL, Event, Outbox, Producer, UnavailableError, audience_of
from claimbus.cli.running import stopped_by_signals
from claimbus.cli.settings import load
from claimbus.cli.wiring import open_producer
from claimbus.events.event import Audience
from tests.chaos.ledger import Entry, Ledger

OUTAGES = 40
OUTAGE_TYPES = ("oms.resource-outage.status-changed", "oms.transmission-outage.changed")
OTHER_TYPES = ("market.dam.closed", "market.rtm.opened", "market.dam.reopened", "system.notice.published")
SIZES = (200, 2_000, 2_000, 20_000)
IN_FLIGHT = 2_000
LAST_WORDS = 60.0
"""Seconds in which what is under way must be acknowledged after SIGTERM."""


class Course(BaseModel):
    """What is published. ``life`` names one of the publisher's lives; each has outages of its own."""

    directory: Path
    seed: int
    life: str
    rate: float
    clock: float
    """The time at which the machine's monotonic clock began; this process's own clock may be made to jump."""
    participants: tuple[str, ...]
    outbox: Path | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An event, and whether it goes by the outbox."""

    event: Event
    by_outbox: bool


class Drafts:
    """The events of one life, in their order."""

    def __init__(self, course: Course, source: str) -> None:
        self._course = course
        self._source = source
        self._chance = random.Random(f"{course.seed}/{course.life}")
        self._sequences: Counter[str] = Counter()
        self._count = 0

    def next(self) -> Draft:
        chance, life = self._chance, self._course.life
        self._count += 1
        key = None
        by_outbox = self._course.outbox is not None and chance.random() < 0.2
        type_ = chance.choice(OTHER_TYPES)
        if chance.random() < 0.6:
            type_ = chance.choice(OUTAGE_TYPES)
            key = f"{'box' if by_outbox else 'out'}-{life}-{chance.randrange(OUTAGES)}"
            self._sequences[key] += 1
        event = Event(
            type=type_,
            source=self._source,
            id=f"{life}-{self._count}",
            time=datetime.now(UTC),
            body=f"{life}-{self._count} ".encode() + b"x" * chance.choice(SIZES),
            audience=self._audience(),
            datacontenttype="text/plain",
            partitionkey=key,
            sequence=self._sequences[key] if key else None,
        )
        return Draft(event, by_outbox)

    def _audience(self) -> Audience:
        everybody = self._course.participants
        count = self._chance.choice((0, 1, 1, 3))
        return audience_of(self._chance.sample(everybody, count)) if count else ALL


def entry_of(event: Event, at: float) -> Entry:
    """The event as the ledger has it."""
    return Entry(
        source=event.source,
        id=event.id,
        type=event.type,
        audience="all" if event.audience == ALL else tuple(sorted(event.audience)),
        key=event.partitionkey,
        sequence=event.sequence,
        sha256=hashlib.sha256(event.body).hexdigest(),
        at=at,
    )


class Publishing:
    """Publishes drafts, each outage's one after the other."""

    def __init__(self, producer: Producer, outbox: Outbox | None, told: Ledger, clock: float) -> None:
        self._producer = producer
        self._outbox = outbox
        self._told = told
        self._clock = clock
        self._before: dict[str, asyncio.Task[None]] = {}

    def begin(self, draft: Draft) -> "asyncio.Task[None]":
        key = draft.event.partitionkey
        task = asyncio.create_task(self._publish(draft, self._before.get(key or "")))
        if key is not None:
            self._before[key] = task
        return task

    async def _publish(self, draft: Draft, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await before
        while True:
            try:
                if draft.by_outbox and self._outbox is not None:
                    await asyncio.to_thread(self._outbox.put, draft.event)
                else:
                    await self._producer.publish(draft.event)
            except UnavailableError:
                await asyncio.sleep(0.2)
            else:
                self._told.write(entry_of(draft.event, self._clock + time.monotonic()))
                return


async def main(course: Course) -> None:
    settings, stop = load(), stopped_by_signals()
    drafts = Drafts(course, settings.source("load"))
    running: set[asyncio.Task[None]] = set()
    outbox = None if course.outbox is None else Outbox(course.outbox)
    async with open_producer(settings, "load") as producer:
        publishing = Publishing(producer, outbox, Ledger(course.directory / "ledger.jsonl"), course.clock)
        intended = Ledger(course.directory / "intended.jsonl")
        print("load ready", file=sys.stderr, flush=True)
        due = time.monotonic()
        while not stop.is_set():
            due = max(due + 1 / course.rate, time.monotonic() - 0.5)  # a pause is not made up for
            await asyncio.sleep(due - time.monotonic())
            if len(running) < IN_FLIGHT:
                draft = drafts.next()
                intended.write(entry_of(draft.event, course.clock + time.monotonic()))
                task = publishing.begin(draft)
                running.add(task)
                task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running, timeout=LAST_WORDS)


if __name__ == "__main__":
    asyncio.run(main(Course.model_validate_json(Path(sys.argv[1]).read_bytes())))
