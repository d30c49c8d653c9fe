"""A queue that somebody deletes: it is there again within seconds, and nothing that can be told is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from claimbus.broker import journal
from claimbus.broker.errors import TopologyError
from claimbus.broker.topology import endpoint_queue, message_counts
from claimbus.cli.demo.receivers import Behaviour, Receiver
from claimbus.cli.settings import Settings
from claimbus.database import audit, endpoints
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.deadletters.reconcile import Reconciliation
from claimbus.deadletters.recover import Recovery
from claimstore.leases import Leases
from claimstore.quarantined import Quarantined
from consumers import quarantine
from consumers.provision import Provision
from consumers.quarantine import Quarantine
from tests.consumers.house import ACT, House, open_house
from tests.portal.streams import Stage, identities, stage, stream_settings
from tests.waiting import eventually, never

__all__ = ["stage", "stream_settings"]

LIFE = timedelta(days=7)
SOON = timedelta(milliseconds=300)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long at the journal's end; recover no more than what the lost queue was not given."""
    monkeypatch.setattr(journal, "NEXT", 0.3)
    monkeypatch.setattr(quarantine, "MARGIN", 0)


@pytest.fixture
def recovery(house: House) -> Recovery:
    return Recovery(house.database, house.store, house.connection, house.publisher, claim_life=LIFE)


@pytest.fixture
def reconciliation(house: House) -> Reconciliation:
    return Reconciliation(house.database, house.store, house.connection, house.wiring.topology.ladder, LIFE)


class Watch:
    """A worker's watch alone, and what it did."""

    def __init__(self, house: House, worker: str, recovers: asyncio.Event | None = None) -> None:
        self.recovered: list[tuple[str, datetime]] = []
        self.alarms: list[int] = []
        self.lost = 0
        self.recovers = recovers
        self.quarantined = Quarantined(house.store.connection)
        self.leases = Leases(house.store.connection)
        self.provision = Provision(house.database, house.connection)
        self.quarantine = Quarantine(
            worker=worker,
            database=house.database,
            leases=self.leases,
            quarantined=self.quarantined,
            provision=self.provision,
            connection=house.connection,
            recover=self._recover,
            alarm=self.alarms.append,
            lost=self._count,
        )

    async def _recover(self, endpoint: Endpoint, since: datetime) -> int:
        self.recovered.append((endpoint.id, since))
        if self.recovers is not None:
            await self.recovers.wait()
        return 0

    def _count(self) -> None:
        self.lost += 1


async def delete(house: House, endpoint: Endpoint) -> None:
    """Delete its queue, as an operator does on RabbitMQ's management page."""
    async with await house.connection.channel() as channel:
        await channel.delete_queue(endpoint_queue(endpoint.id, endpoint.generation))


async def is_there(house: House, endpoint: Endpoint) -> bool:
    return not await house.has_no_queue(endpoint)


async def ready(house: House, endpoint: Endpoint) -> int:
    queue = endpoint_queue(endpoint.id, endpoint.generation)
    counts = (await message_counts(house.connection, [queue]))[queue]
    return 0 if counts is None else counts.messages


def got(receiver: Receiver) -> set[str | None]:
    return {one.header("webhook-id") for one in receiver.received}


def backdate(house: House) -> None:
    """Let all bindings be from a day ago, so that no delivery is doubtful."""
    with house.database.transaction() as sql:
        sql.execute(text("UPDATE bindings SET bound_from = bound_from - 86400000"))


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


async def looked(house: House) -> None:
    """Return once a look has begun in a later second than this one."""
    quarantined, after = Quarantined(house.store.connection), (int(time.time()) + 1) * 1000

    async def later() -> bool:
        return (await quarantined.last_look() or 0) > after

    await eventually(later)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_deleted_queue_is_back_and_what_was_not_routed_comes_by_itself_and_the_rest_by_recover(
    house: House, reconciliation: Reconciliation, recovery: Recovery, *, ordered: bool
) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint(
        "AAA1", behaviour=Behaviour(kind="slow", seconds=1), ordered=ordered, concurrency=1
    )
    backdate(house)
    await house.worker(watch_every=SOON)
    waiting = await house.publish(count=20)
    await looked(house)
    await delete(house, endpoint)
    between = await house.publish(count=5)
    await eventually(lambda: is_there(house, endpoint))
    after = await house.publish(count=5)
    await receiver.behave()
    await eventually(lambda: got(receiver) >= {*between, *after})
    found = await reconciliation.run(within=2)
    lost = {one.message_id for one in found.open}
    assert lost
    assert lost <= set(waiting) - set(after) - set(between)
    assert (found.complete, found.settled) == (False, False)
    await recovery.run(endpoint.id, datetime.now(UTC) - timedelta(hours=1), act=ACT, rate=None)
    await eventually(lambda: got(receiver) >= {*waiting, *between, *after})
    assert (await reconciliation.run()).settled


async def test_a_stream_whose_queue_is_deleted_goes_on(stage: Stage, tmp_path: Path) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with open_worker(stage.settings, tmp_path) as house, stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE", count=3)
        await client.ack(*await client.take(3))
        await looked(house)
        await delete(house, endpoint)
        between = await stage.publish("PGAE", count=3)
        await eventually(lambda: is_there(house, endpoint))
        after = await stage.publish("PGAE", count=3)
        seen: set[str] = set()
        while not seen >= {*between, *after}:
            [delivery] = await client.take()
            await client.ack(delivery)
            seen |= set(identities([delivery]))


@asynccontextmanager
async def open_worker(settings: Settings, directory: Path) -> AsyncIterator[House]:
    """A worker beside a portal."""
    (directory / "house").mkdir()
    async with open_house(settings, directory / "house") as house:
        await house.worker(watch_every=SOON)
        yield house


@pytest.mark.parametrize("state", ["paused", "disabled", "held"])
async def test_an_endpoint_to_which_nothing_is_delivered_has_its_queue_back_too(
    house: House, state: str
) -> None:
    house.participant("AAA1")
    down = Behaviour(kind="down")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=down if state == "held" else None)
    await house.worker(watch_every=SOON)
    if state == "held":
        await house.publish(count=10)
        await eventually(lambda: house.is_held(endpoint))
    else:
        turn = endpoints.pause if state == "paused" else endpoints.disable
        await house.database.run(lambda sql: turn(sql, endpoint.id, Act("tests", "a test")))
        await house.publisher.announce(endpoint.id, "changed")
    await looked(house)
    await delete(house, endpoint)
    sent = await house.publish(count=3)
    await eventually(lambda: is_there(house, endpoint))
    if state == "held":
        await receiver.behave()
        await eventually(lambda: got(receiver) >= set(sent))
    else:

        async def waits() -> bool:
            return await ready(house, endpoint) >= len(sent)

        await eventually(waits)


async def test_two_watches_make_a_queue_once_and_raise_one_alarm(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    one, other = Watch(house, "one"), Watch(house, "other")
    await delete(house, endpoint)
    assert sorted(await asyncio.gather(one.quarantine.look(), other.quarantine.look())) == [False, True]
    assert await is_there(house, endpoint)
    assert len(one.recovered + other.recovered) == one.lost + other.lost == 1
    assert [1, 0] in (one.alarms, other.alarms)
    with house.database.snapshot() as sql:
        [entry] = audit.find(sql, object_id=endpoint.id, actor="worker").rows
    assert (entry.action, list(entry.after or ())) == ("queue lost", ["last_seen"])
    assert not await one.quarantine.look()
    (missed,) = await house.publish()
    assert missed
    assert await ready(house, endpoint) == 1


async def test_what_was_published_since_the_last_look_is_recovered_whoever_looked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "LEASE", 0.2)
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    before = time.time() - 1
    with house.database.transaction() as sql:
        sql.execute(text("UPDATE endpoints SET created_at = created_at - 86400000"))
    assert not await Watch(house, "dead").quarantine.look()
    seen = await Quarantined(house.store.connection).last_look()
    assert seen is not None
    assert seen / 1000 >= before
    await delete(house, endpoint)
    heir = Watch(house, "heir")
    await eventually(heir.quarantine.look)
    assert heir.recovered == [(endpoint.id, moment(seen))]


async def test_nothing_is_recovered_from_before_the_endpoint_was_there(house: House) -> None:
    house.participant("AAA1")
    quarantined = Quarantined(house.store.connection)
    await quarantined.note_look(round((time.time() - 3600) * 1000))
    endpoint, _ = await house.endpoint("AAA1")
    await delete(house, endpoint)
    watch = Watch(house, "one")
    await watch.quarantine.look()
    assert watch.recovered == [(endpoint.id, endpoint.created_at)]


async def test_who_loses_the_lease_stops_and_the_next_one_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "LEASE", 1.0)
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    first, second = Watch(house, "first", recovers=asyncio.Event()), Watch(house, "second")
    await delete(house, endpoint)
    looking = asyncio.create_task(first.quarantine.look())
    await eventually(lambda: first.recovered)
    await never(looking.done, for_=1.5)  # the lease is renewed meanwhile
    redis = house.store.connection  # in one step: a renewal between giving back and taking would win it again
    await redis.ask("SET", f"{redis.prefix}lease:{{quarantine}}", "second", "PX", 60_000)
    async with asyncio.timeout(5):
        assert not await looking
    assert await second.quarantined.all()
    assert await second.quarantine.look()
    assert second.recovered == first.recovered
    assert not await second.quarantined.all()
    assert second.lost == 0


async def test_a_queue_that_is_deleted_in_quarantine_is_made_again_with_what_it_missed_since(
    house: House,
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    watch, since = Watch(house, "one"), round(time.time() * 1000) + 5000
    await watch.quarantined.put(endpoint.id, since)
    await watch.provision.unbind(endpoint)
    await delete(house, endpoint)
    assert await watch.quarantine.look()
    assert watch.recovered == [(endpoint.id, moment(since))]
    assert watch.lost == 1
    await house.publish()
    assert await ready(house, endpoint) == 1


async def test_what_was_removed_or_drained_on_purpose_does_not_come_back(house: House) -> None:
    house.participant("AAA1")
    removed, _ = await house.endpoint("AAA1")
    changed, _ = await house.endpoint("AAA1")
    worker = await house.worker(watch_every=SOON)
    await house.remove(removed)
    await house.change(changed, ordered=True)
    worker._changed.set()
    await eventually(lambda: house.has_no_queue(removed))

    async def drained() -> bool:
        worker._changed.set()
        return await house.has_no_queue(changed)

    await eventually(drained, every=0.2)
    await looked(house)
    assert await house.has_no_queue(removed)
    assert await house.has_no_queue(changed)
    with house.database.snapshot() as sql:
        assert not audit.find(sql, actor="worker").rows


async def test_an_endpoint_removed_during_a_look_is_left_alone(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    watch = Watch(house, "one")
    with house.database.snapshot() as sql:
        stale = endpoints.get(sql, endpoint.id)
    await house.database.run(lambda sql: endpoints.remove(sql, endpoint.id, ACT))
    await delete(house, endpoint)
    assert not await watch.quarantine._make_again(stale, {}, 0)
    assert await house.has_no_queue(endpoint)


async def test_who_changes_an_endpoint_whose_queue_is_gone_does_not_make_one_without_bindings(
    house: House,
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await delete(house, endpoint)
    for anew in (False, True):
        with pytest.raises(TopologyError, match="404"):
            await Provision(house.database, house.connection).give(endpoint.id, anew=anew)
    assert await house.has_no_queue(endpoint)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_queue_that_was_deleted_while_no_worker_ran_is_back_after_the_next_start(
    house: House, *, ordered: bool
) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", ordered=ordered)
    await house.worker(watch_every=SOON)
    await looked(house)
    await house.stop_workers()
    await delete(house, endpoint)
    sent = await house.publish(count=3)
    await Leases(house.store.connection).give_back("quarantine", await owner(house))
    await house.worker(watch_every=SOON)
    await eventually(lambda: got(receiver) >= set(sent))


async def test_a_queue_that_is_bound_again_is_consumed_before_it_has_what_it_missed(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1")
    watch = Watch(house, "another", recovers=asyncio.Event())
    await delete(house, endpoint)
    looking = asyncio.create_task(watch.quarantine.look())
    await eventually(lambda: watch.recovered)
    await house.worker()
    sent = await house.publish(count=3)
    await eventually(lambda: got(receiver) >= set(sent))
    assert not looking.done()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_workers_begin_anew_with_a_queue_that_was_made_again(house: House) -> None:
    """RabbitMQ 3.10 does not always tell consumers that their queue is gone: they would wait for ever."""
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    watch = Watch(house, "another")
    await watch.quarantine.look()
    assert (await house.database.read(endpoints.revisions))[endpoint.id] == endpoint.revision
    await delete(house, endpoint)
    await watch.quarantine.look()
    assert (await house.database.read(endpoints.revisions))[endpoint.id] > endpoint.revision


async def owner(house: House) -> str:
    """The worker whose watch it is."""
    connection = house.store.connection
    return str((await connection.ask("GET", f"{connection.prefix}lease:{{quarantine}}")).decode())
