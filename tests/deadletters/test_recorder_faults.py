"""What is away, refused, too much or too large: the queue keeps it, and each letter is recorded once."""

import os
import tracemalloc
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from structlog.testing import capture_logs

from claimbus.cli.settings import Settings
from claimbus.database import kept
from tests.claimstore.private import PrivateRedis
from tests.consumers.house import House, open_house
from tests.deadletters.backlog import (
    BUDGET,
    give_up,
    kept_body,
    letter,
    publish,
    recorded,
    recording,
    waits,
)
from tests.waiting import eventually


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A running Redis that the test may kill."""
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    yield redis
    redis.kill()


async def test_without_redis_the_queue_keeps_everything_until_it_is_back(
    settings: Settings, private_redis: PrivateRedis, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"redis_url": private_redis.url})
    async with open_house(settings, tmp_path) as house, recording(house):
        before = await give_up(house, count=10)
        await eventually(lambda: recorded(house, at_least=10))
        after = [await letter(house, "ep_1", house.event()) for _ in range(20)]
        private_redis.kill()
        await publish(house, *after[:10])
        await eventually(lambda: waits(house, 10))
        await publish(house, *after[10:])
        assert await waits(house, 20)
        assert len(await recorded(house) or ()) == 10
        private_redis.start()
        rows = await eventually(lambda: recorded(house, at_least=30))
        assert len(rows) == 30
        for one in before + after:
            assert await kept_body(house, one.body.decode())


async def test_without_the_database_the_queue_keeps_everything_until_it_is_back(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"database_timeout": timedelta(milliseconds=200)})
    async with open_house(settings, tmp_path) as house, recording(house):
        await give_up(house)
        await eventually(lambda: recorded(house, at_least=1))
        with house.locked_database():
            await give_up(house, count=20)
            await eventually(lambda: waits(house, 0))
            await eventually(lambda: waits(house, 20))
            assert len(await recorded(house) or ()) == 1
        rows = await eventually(lambda: recorded(house, at_least=21))
        assert len(rows) == 21


async def test_what_is_in_hand_when_the_recorder_stops_goes_back_and_is_recorded_once(house: House) -> None:
    with ExitStack() as lock:
        async with recording(house):
            await give_up(house)
            await eventually(lambda: recorded(house, at_least=1))
            lock.enter_context(house.locked_database())
            await give_up(house, count=20)
            await eventually(lambda: waits(house, 0))
        await eventually(lambda: waits(house, 20))
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=21))
        await give_up(house)
        rows = await eventually(lambda: recorded(house, at_least=22))
    assert len({row.id for row in rows}) == len(rows) == 22


async def test_a_lost_connection_costs_no_letter(house: House) -> None:
    async with recording(house):
        for _ in range(5):
            await give_up(house, count=60)
            house.connection.abandon("a test")
        rows = await eventually(lambda: recorded(house, at_least=300))
    assert len({row.message_id for row in rows}) == len(rows) == 300


async def test_several_recorders_share_the_work(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"database_url": database_url})
    async with open_house(settings, tmp_path) as house:
        events = [house.event() for _ in range(30)]
        for event in events:
            first = await letter(house, None, event)
            await publish(house, *(replace(first, endpoint=f"ep_{number}") for number in range(20)))
        async with recording(house), recording(house), recording(house):
            rows = await eventually(lambda: recorded(house, at_least=600))
        assert len(rows) == 600
        claims = {row.claim_id or "" for row in rows}
        assert await house.database.read(lambda sql: kept.has(sql, claims)) == claims
        assert len(claims) == 30


async def test_a_letter_that_the_database_refuses_stops_no_other(house: House) -> None:
    refused, *others = await give_up(house, count=10)
    assert refused.ticket is not None
    trigger = f"""
        CREATE TRIGGER refuse BEFORE INSERT ON letters WHEN NEW.message_id = '{refused.ticket.message_id}'
        BEGIN SELECT RAISE(ABORT, 'a test'); END
    """
    await house.database.run(lambda sql: sql.exec_driver_sql(trigger))
    with capture_logs() as logs:
        async with recording(house):
            rows = await eventually(lambda: recorded(house, at_least=9))
            await eventually(lambda: [one for one in logs if one["event"] == "letter refused"])
    assert {row.claim_id for row in rows} == {one.body.decode() for one in others}
    await eventually(lambda: waits(house, 1))
    await house.database.run(lambda sql: sql.exec_driver_sql("DROP TRIGGER refuse"))
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=10))
    assert await kept_body(house, refused.body.decode()) == b"{}"


async def test_over_the_budget_the_queue_keeps_the_letters_until_there_is_room(house: House) -> None:
    with capture_logs() as logs:
        async with recording(house, budget=1):
            await give_up(house)
            await eventually(lambda: recorded(house, at_least=1))
            await eventually(lambda: "letters have filled their budget" in {one["event"] for one in logs})
            await give_up(house, count=5)
            assert await waits(house, 5)
            later = datetime.now(UTC) + timedelta(days=1)
            await house.database.run(lambda sql: kept.sweep(sql, later))
            await eventually(lambda: recorded(house, at_least=2))
    async with recording(house, budget=BUDGET):
        await eventually(lambda: recorded(house, at_least=6))


async def test_a_body_that_is_swept_between_look_and_commit_is_copied_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (given_up,) = await give_up(house)
    has, asked = kept.has, 0

    def had_it_once(
        sql: sqlalchemy.Connection, claim_ids: Collection[str], *, hold: bool = False
    ) -> frozenset[str]:
        nonlocal asked
        asked += 1
        return frozenset(claim_ids) if asked == 1 else has(sql, claim_ids, hold=hold)

    monkeypatch.setattr(kept, "has", had_it_once)
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=1))
    assert await kept_body(house, given_up.body.decode()) == b"{}"


async def test_large_bodies_are_recorded_with_flat_memory(house: House) -> None:
    await give_up(house, count=100, body=os.urandom(1 << 20))
    tracemalloc.start()
    try:
        async with recording(house):
            await eventually(lambda: recorded(house, at_least=100), within=60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 << 20
