"""Several workers: an endpoint's limits hold over all of them, and work spreads over those that are there."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from claimbus.cli.demo.child import child, work
from claimbus.cli.demo.receivers import Behaviour, Receiver
from claimbus.cli.services import RedisServer
from claimbus.database.endpoint import Endpoint
from claimstore.connection import Connection
from claimstore.errors import StoreUnavailableError
from claimstore.presence import Presence
from consumers.crew import Crew
from consumers.lane import Lane
from consumers.worker import Worker
from tests.consumers.house import House
from tests.waiting import eventually, never

SLOW = Behaviour(kind="slow", seconds=0.2)


def shares(workers: Sequence[Worker], endpoint: Endpoint) -> list[int]:
    """The requests at once that each of these workers allows itself, most first."""
    lanes = [lane for worker in workers for lane in worker._roster.lanes if lane.endpoint.id == endpoint.id]
    return sorted((lane.share.concurrency for lane in lanes), reverse=True)


def identities(receiver: Receiver) -> list[str | None]:
    return [request.header("webhook-id") for request in receiver.received]


async def stop_the_last(house: House) -> None:
    stop, task = house.workers.pop()
    stop.set()
    await task


async def three_workers(house: House, endpoint: Endpoint, *, share: list[int]) -> list[Worker]:
    workers = [await house.worker(reconcile_every=timedelta(hours=1)) for _ in range(3)]
    await eventually(lambda: shares(workers, endpoint) == share)
    return workers


async def test_three_workers_have_as_many_requests_under_way_as_an_endpoint_allows(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint(
        "AAA1", behaviour=Behaviour(kind="hang"), concurrency=5, timeout_s=60.0
    )
    await three_workers(house, endpoint, share=[2, 2, 1])
    await house.publish(count=30)
    await eventually(lambda: receiver.connections == 5)
    await never(lambda: receiver.connections > 5)


async def test_three_workers_keep_to_a_rate_together(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", rate_limit=6.0)
    await three_workers(house, endpoint, share=[3, 3, 2])
    began = time.time()
    await house.publish(count=24)
    attempts = await eventually(lambda: house.attempts_when(endpoint, 24))
    last = max(attempt.started_ms for attempt in attempts) / 1000
    assert last >= began + 21 / 6, "after one each, 21 at 6 a second, however busy the machine"


async def test_a_newcomer_and_a_leaver_change_shares_and_lose_nothing(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1", behaviour=SLOW, concurrency=8)
    first = await house.worker(reconcile_every=timedelta(hours=1))
    [lane] = first._roster.lanes
    sent: list[str] = []
    enough = asyncio.Event()

    async def publish_on_and_on() -> None:
        while not enough.is_set():
            sent.extend(await house.publish(count=10))
            await asyncio.sleep(0.1)

    def under_way(count: int, *lanes: Lane) -> bool:
        """Whether each lane makes so many requests at once, while more deliveries wait in its hands."""
        return all(one._backlog and one._runners == count for one in lanes)

    publishing = asyncio.create_task(publish_on_and_on())
    await eventually(lambda: under_way(8, lane) and len(lane._backlog) > 40)
    second = await house.worker(reconcile_every=timedelta(hours=1))
    await eventually(lambda: under_way(4, lane, *second._roster.lanes))
    await stop_the_last(house)
    await eventually(lambda: under_way(8, lane))
    enough.set()
    await publishing
    await receiver.behave()
    await eventually(lambda: set(identities(receiver)) == set(sent))
    assert first._roster.lanes == [lane], "the same lane all along"
    assert len(receiver.received) == len(sent), "and nothing came twice"


async def test_lanes_do_not_multiply_with_workers(house: House) -> None:
    house.participant("AAA1")
    found = [await house.endpoint("AAA1", "market.#", concurrency=1) for _ in range(6)]
    found += [await house.endpoint("AAA1", "market.#", ordered=True) for _ in range(2)]
    found += [await house.endpoint("AAA1", "market.#") for _ in range(2)]
    workers = await asyncio.gather(*(house.worker() for _ in range(4)))
    await eventually(lambda: sum(len(worker._roster.lanes) for worker in workers) == 6 * 1 + 2 * 2 + 2 * 3)
    [sent] = await house.publish()
    await eventually(lambda: all(identities(receiver) == [sent] for _, receiver in found))


async def test_a_late_worker_gets_its_share_of_ordered_endpoints_and_their_order_stays(house: House) -> None:
    house.participant("AAA1")
    found = [await house.endpoint("AAA1", "oms.#", ordered=True) for _ in range(10)]
    every = timedelta(seconds=1)
    early = await house.worker(reconcile_every=every)
    count = 0

    async def publish() -> None:
        nonlocal count
        count += 1
        changed = house.event("AAA1", type_="oms.resource-outage.changed")
        await house.producer.publish(
            replace(changed, id=f"15120034-{count}", sequence=count, partitionkey="15120034")
        )

    async def arrived() -> None:
        await eventually(lambda: all(len(receiver.received) >= count for _, receiver in found))

    async def in_place() -> bool:
        """Whether each of two events comes by the worker that is wanted, and by nobody else."""
        lanes = [lane for worker in (early, late) for lane in worker._roster.lanes]
        before = [lane.tried for lane in lanes]
        await publish()
        await publish()
        await arrived()
        tried = [lane.tried - so_far for lane, so_far in zip(lanes, before, strict=True)]
        return tried == [0 if lane.share.place else 2 for lane in lanes]

    await publish()
    await arrived()
    late = await house.worker(reconcile_every=every)
    await eventually(lambda: len(late._roster.lanes) == len(early._roster.lanes) == 10)
    await eventually(in_place, within=30)
    for _, receiver in found:
        assert [int(request.event["sequence"]) for request in receiver.received] == [*range(1, count + 1)]


async def test_who_comes_and_who_goes_is_announced_and_the_work_shared_anew_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.crew.LOOKS", 0.001)  # by itself nobody looks
    house.participant("AAA1")
    found = [await house.endpoint("AAA1", concurrency=1) for _ in range(6)]
    first = await house.worker(reconcile_every=timedelta(hours=1))
    second = await house.worker(reconcile_every=timedelta(hours=1))
    await eventually(lambda: len(first._roster.lanes) + len(second._roster.lanes) == 6)
    await stop_the_last(house)
    await eventually(lambda: len(first._roster.lanes) == 6)
    [sent] = await house.publish()
    await eventually(lambda: all(identities(receiver) == [sent] for _, receiver in found))


async def test_what_a_killed_worker_had_is_taken_over(house: House, tmp_path: Path) -> None:
    house.participant("AAA1")
    found = [await house.endpoint("AAA1", concurrency=1) for _ in range(6)]
    known = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    told = house.wiring.settings.model_dump(
        include={"environment", "amqp_url", "redis_url", "key_prefix", "database_url", "retry_ladder"}
    ) | {"webhook_networks": "127.0.0.0/8", "webhook_ports": "1-65535"}
    environment = known | {f"CLAIMBUS_{name.upper()}": str(value) for name, value in told.items()}
    async with (
        child(work(), tmp_path, "first", environment),
        child(work(), tmp_path, "second", environment),
    ):
        survivor = await house.worker()
        await eventually(lambda: len(survivor._crew.workers) == 3, within=30)
        wanted = [endpoint for endpoint, _ in found if survivor._crew.share(endpoint)]
        await eventually(lambda: len(survivor._roster.lanes) == len(wanted))
        os.kill(int((tmp_path / "first.pid").read_text()), signal.SIGKILL)
        os.kill(int((tmp_path / "second.pid").read_text()), signal.SIGKILL)
        [sent] = await house.publish()
        await eventually(lambda: all(identities(receiver) == [sent] for _, receiver in found), within=40)
        assert len(survivor._roster.lanes) == 6


async def test_each_held_endpoint_is_counted_by_one_worker(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="down"))
    workers = await three_workers(house, endpoint, share=[3, 3, 2])

    def counted() -> list[float]:
        found = [worker._metrics.registry.get_sample_value("claimbus_held_endpoints") for worker in workers]
        return sorted(one or 0.0 for one in found)

    await house.publish(count=20)
    await eventually(lambda: all(lane.held for worker in workers for lane in worker._roster.lanes))
    assert counted() == [0, 0, 1]
    await receiver.behave()
    await eventually(lambda: counted() == [0, 0, 0])


async def test_the_depth_of_a_queue_that_others_consume_now_is_no_longer_told(house: House) -> None:
    house.participant("AAA1")
    for _ in range(6):
        await house.endpoint("AAA1", concurrency=1)
    every = timedelta(milliseconds=100)
    first = await house.worker(reconcile_every=every)

    def told(worker: Worker) -> int:
        [depth] = [one for one in worker._metrics.registry.collect() if one.name == "claimbus_queue_depth"]
        return len(depth.samples)

    await eventually(lambda: told(first) == 6)
    second = await house.worker(reconcile_every=every)
    await eventually(
        lambda: (told(first), told(second)) == tuple(len(one._roster.lanes) for one in (first, second))
    )


class TestView:
    """What one worker believes of the others."""

    @pytest.fixture
    async def redis(self, tmp_path: Path) -> AsyncIterator[RedisServer]:
        with RedisServer(tmp_path / "redis") as server:
            yield server

    async def test_without_redis_the_last_view_is_kept_and_others_get_time_to_come_back(
        self, redis: RedisServer
    ) -> None:
        async with await Connection.open(redis.url, answer_within=1.0) as connection:
            presence = Presence(connection, life=timedelta(seconds=5))
            crew = Crew(presence, "us", able=lambda: True, announce=unheard)
            assert crew.workers == set(), "no share of anything before it has entered"
            await presence.note("other")
            assert await crew.look()
            assert crew.workers == {"us", "other"}
            await asyncio.to_thread(redis.kill)
            with pytest.raises(StoreUnavailableError):
                await crew.look()
            assert crew.workers == {"us", "other"}
            await asyncio.to_thread(redis.start)
            await connection.ask("DEL", "workers")
            looked = Counter[bool]()

            async def alone() -> bool:
                looked[await looking(crew)] += 1
                return crew.workers == {"us"}

            await eventually(alone)
            assert looked[False] >= 1, "it believed in the other for a while"

    async def test_who_cannot_deliver_is_not_there_and_keeps_to_the_others_it_knew(
        self, redis: RedisServer
    ) -> None:
        async with await Connection.open(redis.url) as connection:
            presence = Presence(connection, life=timedelta(seconds=3))
            able = asyncio.Event()
            able.set()
            crew = Crew(presence, "us", able=able.is_set, announce=unheard)
            await presence.note("other")
            await crew.look()
            able.clear()

            async def forgotten() -> bool:
                assert not await crew.look()
                return await presence.note("other") == {"other"}

            await eventually(forgotten)
            assert crew.workers == {"us", "other"}
            able.set()
            await crew.look()
            assert await presence.note("other") == {"us", "other"}


async def unheard() -> None:
    """Announce to nobody."""


async def looking(crew: Crew) -> bool:
    """Look once Redis answers again."""
    try:
        return await crew.look()
    except StoreUnavailableError:
        return False
