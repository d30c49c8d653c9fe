"""A change once seen is never lost, and published once: watchers at once, away from servers, and killed."""

import asyncio
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from claimbus.events.errors import InvalidEventError
from claimbus.events.ticket import Ticket
from producers.feed import RowProblem
from producers.oms import Owners
from producers.producer import PublishingFailedError
from tests.producers.bus import Bus
from tests.producers.watchers import (
    NOBODYS,
    SAMPLE,
    START,
    Lot,
    away,
    changes_in_the_sample,
    outage,
    owners,
    snapshot,
    watcher,
)

AT_ONCE = timedelta(0)


def kinds(tickets: Iterable[Ticket]) -> list[tuple[str | None, int | None, str]]:
    """MRID, sequence and kind of change, sorted."""
    return sorted((one.partitionkey, one.sequence, one.type.rpartition(".")[2]) for one in tickets)


async def test_a_watcher_tells_what_changed_from_one_snapshot_to_the_next(bus: Bus) -> None:
    watching = watcher(bus)
    first = await watching.take(snapshot(0, outage("1"), outage("2"), outage("3"), outage("4")))
    assert (first.outages, first.published) == (4, {"oms.resource-outage.created": 4})
    second = await watching.take(
        snapshot(1, outage("1"), outage("2", mw=20), outage("3", status="ENDING"), outage("5"))
    )
    assert sum(second.published.values()) == 4
    third = await watching.take(snapshot(30, outage("1"), outage("4")))
    assert sum(third.published.values()) == 4
    assert kinds((await bus.hears(12))[4:]) == [
        ("2", 2, "changed"),
        ("2", 3, "ended"),
        ("3", 2, "status-changed"),
        ("3", 3, "ended"),
        ("4", 2, "cancelled"),
        ("4", 3, "changed"),
        ("5", 1, "created"),
        ("5", 2, "ended"),
    ]


async def test_an_event_goes_to_the_owners_of_its_resource_only(bus: Bus) -> None:
    await watcher(bus).take(snapshot(0, outage("1")))
    (ticket,) = await bus.hears(1)
    assert bus.heard[0].routing_key == "oms.resource-outage.created.PGAE"
    assert (await bus.redeem(ticket)).event.audience == frozenset({"PGAE", "SCE1"})


async def test_an_event_on_a_resource_that_nobody_owns_is_parked_and_not_published(bus: Bus) -> None:
    lot = Lot()
    watching = watcher(bus, lot=lot)
    taken = await watching.take(snapshot(0, outage("1", resource=NOBODYS), outage("2")))
    assert (taken.parked, sum(taken.published.values())) == (1, 1)
    ((resource, event),) = lot.parked
    assert (resource, event.partitionkey, event.sequence) == (NOBODYS, "1", 1)
    assert await watching.carry_through(older_than=AT_ONCE) == 0, "it is not pending any more"
    assert kinds(await bus.hears(1)) == [("2", 1, "created")]


async def test_the_same_snapshot_again_publishes_nothing(bus: Bus) -> None:
    watching = watcher(bus)
    await watching.take(snapshot(0, outage("1")))
    assert (await watching.take(snapshot(0, outage("1")))).published == {}
    assert (await watching.take(snapshot(1, outage("1")))).published == {}


async def test_a_snapshot_older_than_one_taken_is_not_believed(bus: Bus) -> None:
    watching = watcher(bus)
    await watching.take(snapshot(2, outage("1", mw=20)))
    taken = await watching.take(snapshot(1, outage("1", mw=10), outage("2")))
    assert taken.stale
    assert taken.published == {}
    assert kinds(await bus.hears(1)) == [("1", 1, "created")]


async def test_an_outage_whose_row_cannot_be_read_stays_as_it_was(bus: Bus) -> None:
    watching = watcher(bus)
    await watching.take(snapshot(0, outage("1"), outage("2")))
    problem = RowProblem("feed.csv", 2, "CURTAILMENT MW", "is no power", mrid="1", resource_id=None)
    taken = await watching.take(snapshot(30, problems=[problem]))
    assert taken.problems == (problem,)
    assert kinds((await bus.hears(3))[2:]) == [("2", 2, "ended")]


async def test_two_watchers_at_once_publish_each_change_once(bus: Bus) -> None:
    outages = [outage(f"{number}") for number in range(500)]
    taken = await asyncio.gather(*(watcher(bus).take(snapshot(0, *outages)) for _ in range(3)))
    assert sum(sum(one.published.values()) for one in taken) == 500
    later = [outage(one.mrid, mw=20) for one in outages[:250]]
    await asyncio.gather(*(watcher(bus).take(snapshot(1, *later)) for _ in range(3)))
    tickets = await bus.hears(1000)
    await watcher(bus).take(snapshot(2, outage("last")))
    assert len(await bus.hears(len(tickets) + 251)) == 1251
    assert len({ticket.message_id for ticket in tickets}) == len(tickets) == 1000


async def test_watchers_that_overtake_each_other_keep_each_outages_order(bus: Bus) -> None:
    snapshots = [snapshot(hour, *(outage(f"{n}", mw=10 + hour) for n in range(100))) for hour in range(5)]

    async def watch() -> int:
        watching = watcher(bus, patience=timedelta(seconds=30))
        return sum([sum((await watching.take(one)).published.values()) for one in snapshots])

    assert sum(await asyncio.gather(*(watch() for _ in range(3)))) == 500
    heard: defaultdict[str | None, list[int | None]] = defaultdict(list)
    for ticket in await bus.hears(500):
        heard[ticket.partitionkey].append(ticket.sequence)
    assert all(sequences == [1, 2, 3, 4, 5] for sequences in heard.values())


async def test_what_could_not_be_published_is_pending_until_another_watcher_carries_it_through(
    bus: Bus,
) -> None:
    async with away(bus) as gone:
        failing = watcher(bus, gone)
        with pytest.raises(PublishingFailedError):
            await failing.take(snapshot(0, outage("1"), outage("2")))
        with pytest.raises(PublishingFailedError):
            await failing.take(snapshot(1, outage("1", mw=20), outage("2")))
    assert bus.tickets == []
    other = watcher(bus)
    assert (await other.take(snapshot(1, outage("1", mw=20), outage("2")))).published == {}
    assert await other.carry_through() == 0, "another watcher may be publishing it at this moment"
    assert await other.carry_through(older_than=AT_ONCE) == 3
    tickets = await bus.hears(3)
    assert kinds(tickets) == [("1", 1, "created"), ("1", 2, "changed"), ("2", 1, "created")]
    assert [ticket.sequence for ticket in tickets if ticket.partitionkey == "1"] == [1, 2]
    assert await other.carry_through(older_than=AT_ONCE) == 0


async def test_what_another_watcher_left_pending_is_published_before_what_comes_next(bus: Bus) -> None:
    async with away(bus) as gone:
        with pytest.raises(PublishingFailedError):
            await watcher(bus, gone).take(snapshot(0, outage("1"), outage("2")))
    successor = watcher(bus)
    await successor.take(snapshot(1, outage("1", mw=20), outage("2")))
    assert [ticket.sequence for ticket in await bus.hears(2)] == [1, 2]
    assert await successor.carry_through(older_than=AT_ONCE) == 1, "nothing came next of the other outage"


async def test_an_event_is_parked_only_after_what_came_before_it_is_published(bus: Bus) -> None:
    lot = Lot()
    async with away(bus) as gone:
        failing = watcher(bus, gone, lot=lot)
        with pytest.raises(PublishingFailedError):
            await failing.take(snapshot(0, outage("1")))
        with pytest.raises(PublishingFailedError):
            await failing.take(snapshot(1, outage("1", resource=NOBODYS)))
    assert lot.parked == []
    await watcher(bus, lot=lot).take(snapshot(2, outage("1")))
    assert [ticket.sequence for ticket in await bus.hears(2)] == [1, 3]
    assert [event.sequence for _, event in lot.parked] == [2]


async def test_a_change_that_is_refused_does_not_hold_up_the_next(bus: Bus) -> None:
    async def owned_by_a_stranger_at_first(resources: Collection[str], at: datetime) -> Owners:
        return (
            await owners(resources, at) if at > START else dict.fromkeys(resources, frozenset({"STRANGER1"}))
        )

    watching = watcher(bus, owners=owned_by_a_stranger_at_first)
    for hour in (0, 1):
        with pytest.raises(PublishingFailedError) as failed:
            await watching.take(snapshot(hour, outage("1", mw=10 + hour)))
        assert failed.group_contains(InvalidEventError, match="STRANGER1")
    await watching.take(snapshot(2, outage("1", mw=20)))
    assert [ticket.sequence for ticket in await bus.hears(2)] == [2, 3]


async def test_a_watcher_killed_at_any_point_loses_no_change(bus: Bus, tmp_path: Path) -> None:
    expected = changes_in_the_sample()
    chance = random.Random(2026)
    deadline = time.monotonic() + 60
    kills, done = 0, False
    while not done:
        done = run_watcher(bus, kill_after=None if kills == 6 else chance.uniform(0, 0.25))
        kills += not done
        assert time.monotonic() < deadline
    tickets = await bus.hears(len(expected))
    assert {(one.partitionkey, one.sequence) for one in tickets} == expected
    heard: defaultdict[str | None, list[int | None]] = defaultdict(list)
    for ticket in tickets:
        if ticket.sequence not in heard[ticket.partitionkey]:
            heard[ticket.partitionkey].append(ticket.sequence)
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in heard.values())
    assert kills > 0
    assert len({ticket.message_id for ticket in tickets}) == len(expected), "each change has one identity"


def run_watcher(bus: Bus, *, kill_after: float | None) -> bool:
    """Run a watcher's process over the sample; tell whether it came to its end."""
    command = [sys.executable, "-W", "error", "-m", "tests.producers.watchers"]
    with Popen(
        [*command, bus.amqp_url, bus.redis_url, bus.prefix, str(SAMPLE)], stdout=PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if kill_after is not None:
            time.sleep(kill_after)  # a random moment is what is tested
            process.send_signal(signal.SIGKILL)
        return process.wait(30) == 0
