"""The outbox: what it has accepted is published, in order, whatever is killed or away meanwhile."""

import random
import signal
import sqlite3
import stat
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.publisher import Publisher
from claimbus.events.errors import ConfigurationError, InvalidEventError
from claimstore.errors import StoreUnavailableError
from producers.outbox import Outbox, OutboxBusyError, OutboxFullError
from producers.relay import Relayed, relay
from tests.claimstore.private import PrivateRedis
from tests.producers.bus import Bus, closed, open_bus
from tests.waiting import eventually

PROCESS = [sys.executable, "-W", "error", "-m", "tests.producers.outboxes"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


async def test_what_was_put_is_relayed_in_order_and_gone(bus: Bus, file: Path) -> None:
    events = [closed(number, day=1 + number % 3) for number in range(1, 100)]
    with Outbox(file) as outbox:
        for event in events:
            outbox.put(event)
        assert [entry.message_id for entry in outbox.entries()] == [event.identity for event in events]
        assert await relay(outbox, bus.producer) == Relayed(published=99)
        assert outbox.entries() == []
    tickets = await bus.hears(99)
    assert {ticket.message_id for ticket in tickets} == {event.identity for event in events}
    for key in ("dam/2026-03-01", "dam/2026-03-02", "dam/2026-03-03"):
        relayed = [ticket.message_id for ticket in tickets if ticket.partitionkey == key]
        assert relayed == [event.identity for event in events if event.partitionkey == key]


async def test_a_relayed_event_is_the_one_that_was_put(bus: Bus, file: Path) -> None:
    event = replace(closed(), audience=frozenset({"PGAE", "SCE1"}), traceparent="00-1-1-01")
    with Outbox(file) as outbox:
        outbox.put(event)
        await relay(outbox, bus.producer)
    (ticket,) = await bus.hears(1)
    assert (await bus.redeem(ticket)).event == event


async def test_while_rabbitmq_is_away_everything_waits(bus: Bus, file: Path) -> None:
    gone = await Publisher.open(bus.amqp_url, confirm_timeout=1)
    failing = bus.another_producer(gone)
    await gone.aclose()
    with Outbox(file) as outbox:
        for number in range(1, 6):
            outbox.put(closed(number))
        with pytest.raises(BrokerUnavailableError):
            await relay(outbox, failing)
        assert [entry.reason for entry in outbox.entries()] == [None] * 5
        assert await relay(outbox, bus.producer) == Relayed(published=5)
    assert [ticket.message_id for ticket in await bus.hears(5)] == [closed(n).identity for n in range(1, 6)]


async def test_while_redis_is_away_events_are_accepted_and_carried_through_when_it_is_back(
    shared_amqp_url: str, tmp_path: Path, file: Path
) -> None:
    redis = PrivateRedis(tmp_path)
    redis.start()
    try:
        async with open_bus(shared_amqp_url, redis.url, "test:") as bus:
            redis.kill()
            with Outbox(file) as outbox:
                outbox.put(closed())
                with pytest.raises(StoreUnavailableError):
                    await relay(outbox, bus.producer)
                redis.start()

                async def relayed() -> Relayed | None:
                    try:
                        return await relay(outbox, bus.producer)
                    except StoreUnavailableError:  # it takes a moment to be back
                        return None

                assert await eventually(relayed) == Relayed(published=1)
            await bus.hears(1)
    finally:
        redis.kill()


async def test_what_can_never_be_published_is_set_aside_and_does_not_block_what_follows(
    bus: Bus, file: Path
) -> None:
    participants: set[str] = set()
    producer = bus.another_producer(bus.publisher, participants=lambda: frozenset(participants))
    await producer.publish(closed(1, reason="the first"))
    with Outbox(file) as outbox:
        for event in (closed(1), closed(2, audience=frozenset({"PGAE"})), closed(3)):
            outbox.put(event)
        assert await relay(outbox, producer) == Relayed(published=1, set_aside=2)
        conflict, unknown = outbox.entries()
        assert "another body" in (conflict.reason or "")
        assert "no participant PGAE" in (unknown.reason or "")
        assert await relay(outbox, producer) == Relayed()
        participants.add("PGAE")
        assert (outbox.retry([unknown.number]), outbox.discard([conflict.number])) == (1, 1)
        assert await relay(outbox, producer) == Relayed(published=1)
        assert outbox.entries() == []


async def test_an_event_that_was_published_before_is_not_published_again(bus: Bus, file: Path) -> None:
    await bus.producer.publish(closed())
    with Outbox(file) as outbox:
        outbox.put(closed())
        outbox.put(closed())
        assert await relay(outbox, bus.producer) == Relayed(known=2)
    assert len(await bus.hears(1)) == 1


def test_a_bad_event_is_refused_at_once(file: Path) -> None:
    with Outbox(file) as outbox:
        with pytest.raises(InvalidEventError) as refused:
            outbox.put(replace(closed(), body=b"{}"))
        assert refused.value.field == "body.market"
        assert outbox.entries() == []


def test_a_full_outbox_says_so_and_takes_events_again_once_there_is_room(file: Path) -> None:
    big = replace(closed(), body=b"x" * 100_000, datacontenttype="text/plain", dataschema=None)
    with Outbox(file, max_bytes=1_000_000) as outbox:
        for _ in range(8):
            outbox.put(big)
        with pytest.raises(OutboxFullError, match="takes no more events"):
            outbox.put(replace(big, body=b"x" * 300_000))
        held = outbox.entries()
        assert len(held) == 8
        outbox.settle(done=[entry.number for entry in held], set_aside=[])
        for _ in held:
            outbox.put(big)
    assert file.stat().st_size <= 1_000_000


def test_threads_and_openings_may_put_at_once(file: Path) -> None:
    def put(first: int) -> None:
        with Outbox(file) as own:
            for number in range(first, first + 20):
                own.put(closed(number))
                shared.put(closed(1000 + number))

    with Outbox(file) as shared, ThreadPoolExecutor(4) as threads:
        list(threads.map(put, range(1, 81, 20)))
        assert len({entry.message_id for entry in shared.entries()}) == 160


async def test_one_relay_at_a_time(bus: Bus, file: Path) -> None:
    with Outbox(file) as first, Outbox(file) as second:
        first.put(closed())
        with first.alone(), pytest.raises(OutboxBusyError):
            await relay(second, bus.producer)
        assert await relay(second, bus.producer) == Relayed(published=1)


def test_every_commit_is_synced(file: Path) -> None:
    for _ in range(2):
        with Outbox(file) as outbox:
            asked = [
                outbox._sql.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode")
            ]
            assert asked == [(2,), ("wal",)]


def test_only_its_owner_reads_an_outbox(file: Path) -> None:
    with Outbox(file) as outbox:
        outbox.put(closed())
        for part in file.parent.iterdir():
            assert stat.S_IMODE(part.stat().st_mode) == 0o600, part


def test_what_is_no_outbox_is_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "notes", tmp_path / "other.db"
    text.write_text("no database, but long enough to be looked at as one" * 100)
    with sqlite3.connect(other) as sql:
        sql.execute("CREATE TABLE cars (name)")
    sql.close()
    for file in (text, other):
        with pytest.raises(ConfigurationError) as refused:
            Outbox(file)
        assert refused.value.field == "outbox"
    with pytest.raises(ConfigurationError, match="there is no folder"):
        Outbox(tmp_path / "nowhere" / "outbox")


def test_what_was_accepted_survives_a_kill(file: Path) -> None:
    chance = random.Random(2026)
    accepted: list[str] = []
    for _ in range(4):
        with Popen([*PROCESS, "put", str(file)], stdout=PIPE, text=True) as process:
            assert process.stdout is not None
            accepted.append(process.stdout.readline().strip())
            time.sleep(chance.uniform(0, 0.1))  # a random moment is what is tested
            process.send_signal(signal.SIGKILL)
            accepted += [line.strip() for line in process.stdout if line.endswith("\n")]
    with Outbox(file) as outbox:
        kept = [entry.message_id for entry in outbox.entries()]
    assert len(accepted) > 4
    # One more than was told may have been accepted before each kill.
    rest = iter(kept)
    assert all(one in rest for one in accepted), "in the order in which they were put"
    assert len(kept) <= len(accepted) + 4


async def test_a_relay_killed_at_any_point_loses_nothing_and_keeps_the_order(bus: Bus, file: Path) -> None:
    events = [closed(number, day=1 + number % 5) for number in range(1, 1201)]
    with Outbox(file) as outbox:
        for event in events:
            outbox.put(event)
        chance = random.Random(2026)
        kills = 0
        while outbox.entries():
            kills += run_relay(bus, file, kill_after=None if kills == 5 else chance.uniform(0, 0.3))
    tickets = await bus.hears(len(events))
    first_heard: defaultdict[str | None, dict[str, None]] = defaultdict(dict)
    for ticket in tickets:
        first_heard[ticket.partitionkey].setdefault(ticket.message_id)
    for key, heard in first_heard.items():
        assert list(heard) == [event.identity for event in events if event.partitionkey == key]
    assert sum(map(len, first_heard.values())) == len(events)
    assert kills > 1


def run_relay(bus: Bus, file: Path, *, kill_after: float | None) -> bool:
    """Run a relay's process; tell whether it was killed before its end."""
    command = [*PROCESS, "relay", str(file), bus.amqp_url, bus.redis_url, bus.prefix]
    with Popen(command, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if kill_after is not None:
            time.sleep(kill_after)  # a random moment is what is tested
            process.send_signal(signal.SIGKILL)
        return process.wait(30) != 0
