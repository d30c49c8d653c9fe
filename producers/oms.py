"""The OMS watcher: snapshots in, changes out. A change once seen is never lost.

What changed is decided in Redis, atomically: of two watchers one wins each change. A change that was won is
pending there until its publish is confirmed; whoever watches next carries through what a crash left pending.
An outage's changes never overtake each other: who wins one sees to it that those before it are published.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgpack

from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Event
from claimbus.events.outages import Change, Outage, differences, outage_event
from claimstore.errors import StaleSnapshotError
from claimstore.memory import Decision, OutageMemory, Pending, Remembered
from producers.feed import RowProblem, Snapshot
from producers.producer import Producer, PublishingFailedError

ABANDONED_AFTER: Final = timedelta(seconds=60)
"""Age from which another watcher's pending change is carried through: twice the time a confirm may take."""

PATIENCE: Final = timedelta(seconds=3)
"""How long the winner of an outage's next change waits for another watcher to publish the one before it. When
that takes longer, a change may be published twice, under one identity."""

Owners = Mapping[str, frozenset[str]]
"""Resource ID to the participants who own it; a resource that nobody owns is absent."""

NOBODY: Final[frozenset[str]] = frozenset()

OwnersOf = Callable[[Collection[str], datetime], Awaitable[Owners]]
"""Tells who owned these resources at a moment."""

Park = Callable[[Sequence[tuple[str, Event]]], Awaitable[None]]
"""Keeps events on resources that nobody owns, each with its resource's ID, for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one snapshot brought: events published and parked by this watcher, and rows it could not read.

    ``stale``: a newer snapshot had been taken before, so nothing was done.
    """

    at: datetime
    outages: int
    published: Mapping[str, int]
    parked: int
    problems: tuple[RowProblem, ...]
    stale: bool = False


class Watcher:
    """Watches one feed. Any number of watchers may."""

    def __init__(
        self,
        producer: Producer,
        memory: OutageMemory,
        *,
        owners: OwnersOf,
        park: Park,
        patience: timedelta = PATIENCE,
    ) -> None:
        """Wire a watcher to a producer, whose source names the OMS, and to the feed's memory."""
        self._producer = producer
        self._memory = memory
        self._owners = owners
        self._park = park
        self._patience = patience.total_seconds()

    async def take(
        self, snapshot: Snapshot, *, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> Taken:
        """Publish what changed since the last snapshot; ``progress`` is told how many of how many are done.

        Raises PublishingFailedError and UnavailableError; what was not published is pending by then, and the
        next `carry_through` or watcher publishes it.
        """
        remembered = await self._memory.recall()
        decisions = self._decide(snapshot, remembered)
        try:
            mine = await self._memory.commit(int(snapshot.at.timestamp()), decisions)
        except StaleSnapshotError:
            return _taken(snapshot, [], 0, stale=True)
        others = frozenset(mine).difference(decision.change for decision in decisions)
        published, parked = await self._publish(mine, others, progress)
        return _taken(snapshot, published, len(parked))

    async def carry_through(self, *, older_than: timedelta = ABANDONED_AFTER) -> int:
        """Publish what an earlier watcher left pending; return how many events. Raises what `take` raises."""
        published, parked = await self._publish(await self._memory.pending(older_than=older_than))
        return len(published) + len(parked)

    def _decide(self, snapshot: Snapshot, remembered: Mapping[str, Remembered]) -> list[Decision]:
        before = {mrid: Outage.from_bytes(one.record) for mrid, one in remembered.items() if one.present}
        changes = differences(
            before,
            snapshot.outages,
            at=snapshot.at,
            departed=remembered.keys() - before.keys(),
            unread=snapshot.unread(before),
        )
        return [self._decision(change, remembered.get(change.mrid), snapshot.at) for change in changes]

    def _decision(self, change: Change, known: Remembered | None, seen: datetime) -> Decision:
        expected = 0 if known is None else known.sequence
        event = outage_event(
            change,
            sequence=expected + 1,
            source=self._producer.source,
            audience=ALL,
            at=datetime.now(UTC),
        )
        return Decision(
            mrid=change.mrid,
            expected_sequence=expected,
            record=change.outage.to_bytes(),
            present=change.after is not None,
            event=_pack(event, seen),
        )

    async def _publish(
        self,
        changes: Sequence[Pending],
        others: Collection[Pending] = (),
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> tuple[list[str], list[str]]:
        """Publish changes, each outage's in order; return the types of those published and those parked.

        ``others`` are those among them that another watcher may be publishing. One that is refused stays
        pending, but those after it do not wait: it will be refused again.
        """
        by_outage: defaultdict[str, list[tuple[Pending, Event]]] = defaultdict(list)
        for change, event in await self._addressed(changes):
            by_outage[change.mrid].append((change, event))
        published: list[str] = []
        parked: list[str] = []
        failures: list[Exception] = []
        left = len(changes)

        async def publish(change: Pending, event: Event) -> None:
            if change in others and not await self._is_left(change):
                return
            if event.audience == NOBODY:
                await self._park([(event.subject or "", event)])
                parked.append(event.type)
            else:
                await self._producer.publish(event)
                published.append(event.type)
            await self._memory.done([change])

        async def publish_in_order(several: list[tuple[Pending, Event]]) -> None:
            nonlocal left
            for change, event in several:
                try:
                    await publish(change, event)
                except InvalidInputError as refused:
                    failures.append(refused)
                else:
                    left -= 1
                    progress(len(changes) - left, len(changes))

        ended = await asyncio.gather(*map(publish_in_order, by_outage.values()), return_exceptions=True)
        failures += (end for end in ended if isinstance(end, Exception))
        if failures:
            raise PublishingFailedError(f"{left} of {len(changes)} changes stay pending", failures)
        return published, parked

    async def _is_left(self, change: Pending) -> bool:
        """Give another watcher time to publish a change; tell whether it did not."""
        deadline, pause = time.monotonic() + self._patience, 0.05
        while await self._memory.is_pending(change):
            if time.monotonic() >= deadline:
                return True
            await asyncio.sleep(pause)
            pause *= 2
        return False

    async def _addressed(self, changes: Sequence[Pending]) -> list[tuple[Pending, Event]]:
        """Return the events for those who owned their resources when the snapshot was made."""
        unpacked = [(change, *_unpack(change.event)) for change in changes]
        resources: defaultdict[datetime, set[str]] = defaultdict(set)
        for _, event, seen in unpacked:
            resources[seen].add(event.subject or "")
        owners = {seen: await self._owners(some, seen) for seen, some in resources.items()}
        return [
            (change, replace(event, audience=owners[seen].get(event.subject or "", NOBODY)))
            for change, event, seen in unpacked
        ]


def _pack(event: Event, seen: datetime) -> bytes:
    packed: bytes = msgpack.packb((event.attributes(), event.body, int(seen.timestamp())))
    return packed


def _unpack(packed: bytes) -> tuple[Event, datetime]:
    attributes, body, seen = msgpack.unpackb(packed)
    return Event.from_attributes(attributes, body, ALL), datetime.fromtimestamp(seen, UTC)


def _taken(snapshot: Snapshot, published: Iterable[str], parked: int, *, stale: bool = False) -> Taken:
    counts: defaultdict[str, int] = defaultdict(int)
    for type_ in published:
        counts[type_] += 1
    return Taken(
        at=snapshot.at,
        outages=len(snapshot.outages),
        published=dict(counts),
        parked=parked,
        problems=snapshot.problems,
        stale=stale,
    )
