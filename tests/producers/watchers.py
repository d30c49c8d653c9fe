"""Snapshots and watchers in few words; as a program, a watcher to be killed.

``python -m tests.producers.watchers AMQP_URL REDIS_URL PREFIX FILE`` prints ``ready``, takes the file, and
carries through what is left pending then.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from claimbus.broker.publisher import Publisher
from claimbus.cli.demo import expectation
from claimbus.events.event import Event
from claimbus.events.outages import Curtailment, Outage, differences
from claimstore.identities import Identities
from claimstore.memory import OutageMemory
from claimstore.store import ClaimStore
from producers.feed import RowProblem, Snapshot, read
from producers.oms import Owners, OwnersOf, Watcher
from producers.producer import Producer
from tests.producers.bus import LIFE, TOPOLOGY, Bus

SOURCE = "urn:claimbus:test:oms"
START = datetime(2026, 3, 5, 8, tzinfo=UTC)
SAMPLE = Path(expectation.__file__).parent / "sample" / "outages.csv"
NOBODYS = "NOBODY_1_UNIT"
PATIENCE = timedelta(milliseconds=100)


def outage(mrid: str, *, mw: float = 10, status: str = "OUT", resource: str = "SUNRIV_2_UNIT 1") -> Outage:
    """An outage that ends a day after START."""
    return Outage(
        mrid=mrid,
        resource_id=resource,
        resource_name="SUN RIVER UNIT 1",
        outage_type="FORCED",
        nature_of_work="PLANT_TROUBLE",
        status=status,
        pmax_mw=150,
        net_qualifying_capacity_mw=120.5,
        curtailments=(Curtailment(START, START + timedelta(days=1), mw),),
    )


def snapshot(hour: float, *outages: Outage, problems: Iterable[RowProblem] = ()) -> Snapshot:
    """A snapshot so many hours after START."""
    at = START + timedelta(hours=hour)
    return Snapshot(at, None, {one.mrid: one for one in outages}, tuple(problems))


async def owners(resource_ids: Collection[str], _at: datetime) -> Owners:
    """Everything is owned by two participants, but for what is nobody's."""
    return {one: frozenset({"PGAE", "SCE1"}) for one in resource_ids if one != NOBODYS}


@dataclass
class Lot:
    """Where events are parked."""

    parked: list[tuple[str, Event]] = field(default_factory=list)

    async def park(self, events: Sequence[tuple[str, Event]]) -> None:
        self.parked += events


def watcher(
    bus: Bus,
    publisher: Publisher | None = None,
    *,
    lot: Lot | None = None,
    owners: OwnersOf = owners,
    patience: timedelta = PATIENCE,
) -> Watcher:
    """One of the watchers of a feed; its producer knows two participants."""
    identities = Identities(bus.store.connection, life=LIFE)
    producer = Producer(
        bus.store,
        identities,
        publisher or bus.publisher,
        source=SOURCE,
        participants=lambda: frozenset({"PGAE", "SCE1"}),
    )
    memory = OutageMemory(bus.store.connection, "tests")
    return Watcher(producer, memory, owners=owners, park=(lot or Lot()).park, patience=patience)


def changes_in_the_sample() -> set[tuple[str, int]]:
    """MRID and sequence of every change in the sample."""
    before: dict[str, Outage] = {}
    sequences: defaultdict[str, int] = defaultdict(int)
    expected = set()
    for one in read(SAMPLE):
        for change in differences(before, one.outages, at=datetime.now(UTC), unread=one.unread(before)):
            sequences[change.mrid] += 1
            expected.add((change.mrid, sequences[change.mrid]))
            if change.after is None:
                del before[change.mrid]
            else:
                before[change.mrid] = change.after
    return expected


@asynccontextmanager
async def away(bus: Bus) -> AsyncIterator[Publisher]:
    """A publisher whose RabbitMQ is gone."""
    publisher = await Publisher.open(bus.amqp_url, confirm_timeout=1)
    await publisher.aclose()
    yield publisher


async def main(amqp_url: str, redis_url: str, prefix: str, file: str) -> None:
    async with await ClaimStore.open(redis_url, prefix=prefix, life=LIFE) as store:
        # One at a time, so that there are many moments between a commit and its publishes.
        publisher = await Publisher.open(amqp_url, topology=TOPOLOGY, window=1)
        producer = Producer(store, Identities(store.connection, life=LIFE), publisher, source=SOURCE)
        memory = OutageMemory(store.connection, "tests")
        watching = Watcher(producer, memory, owners=owners, park=Lot().park, patience=PATIENCE)
        print("ready", flush=True)
        for one in read(Path(file)):
            await watching.take(one)
        await watching.carry_through(older_than=timedelta(0))
        await publisher.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
