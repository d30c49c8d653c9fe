"""Rule 6: failures in a row hold an endpoint for all workers; then one probe at a time, at growing pauses."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimstore.connection import Connection
from claimstore.holds import Holds, HoldState
from tests.waiting import eventually

NOW = 1_700_000_000_000


@pytest.fixture
def holds(connection: Connection) -> Holds:
    return Holds(connection)


async def hold(holds: Holds, endpoint: str = "e1") -> HoldState:
    for _ in range(5):
        state = await holds.failed(endpoint, NOW)
    return state


async def test_five_failures_in_a_row_hold_an_endpoint(holds: Holds) -> None:
    for failures in range(1, 5):
        assert await holds.failed("e1", NOW) == HoldState(failures, None, None, None)
    state = await holds.failed("e1", NOW)
    assert state == HoldState(5, NOW, NOW + 5000, 5000, begins=True)
    assert state.held
    assert not (await holds.state(["e2"]))["e2"].held


async def test_a_success_starts_the_count_anew(holds: Holds) -> None:
    for _ in range(4):
        await holds.failed("e1", NOW)
    assert await holds.succeeded("e1") is False
    assert (await holds.failed("e1", NOW)).failures == 1


async def test_only_one_worker_announces_a_hold_and_one_its_release(holds: Holds) -> None:
    states = await asyncio.gather(*(holds.failed("e1") for _ in range(40)))
    assert [state.begins for state in states].count(True) == 1
    released = await asyncio.gather(*(holds.succeeded("e1") for _ in range(40)))
    assert released.count(True) == 1


async def test_a_late_failure_moves_no_probe(holds: Holds) -> None:
    await hold(holds)
    state = await holds.failed("e1", NOW + 4000)
    assert state == HoldState(6, NOW, NOW + 5000, 5000, begins=False)


async def test_one_probe_at_a_time_goes_out_when_it_is_due(holds: Holds) -> None:
    await hold(holds)
    assert not await holds.take_probe("e1", "worker-0", NOW + 4999)
    taken = await asyncio.gather(*(holds.take_probe("e1", f"worker-{n}", NOW + 5000) for n in range(40)))
    assert taken.count(True) == 1


async def test_an_endpoint_that_is_not_held_has_no_probe(holds: Holds) -> None:
    assert not await holds.take_probe("e1", "worker-0", NOW)
    await holds.failed("e1", NOW)
    assert not await holds.take_probe("e1", "worker-0", NOW + 10**9)


async def test_the_pause_doubles_up_to_five_minutes(holds: Holds) -> None:
    await hold(holds)
    now = NOW + 5000
    pauses = []
    for _ in range(8):
        assert await holds.take_probe("e1", "worker", now)
        state = await holds.probe_failed("e1", "worker", now)
        assert state.pause is not None
        assert state.next_probe == now + state.pause
        pauses.append(state.pause // 1000)
        assert not await holds.take_probe("e1", "worker", state.next_probe - 1)
        now = state.next_probe
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


async def test_the_probe_of_a_dead_worker_falls_to_another_when_its_lease_ends(holds: Holds) -> None:
    await hold(holds)
    now = NOW + 5000
    assert await holds.take_probe("e1", "dead", now, lease_ms=30_000)
    assert not await holds.take_probe("e1", "other", now + 29_999, lease_ms=30_000)
    assert await holds.take_probe("e1", "other", now + 30_000, lease_ms=30_000)


async def test_a_worker_that_lost_its_lease_cannot_end_the_others(holds: Holds) -> None:
    await hold(holds)
    await holds.take_probe("e1", "slow", NOW + 5000, lease_ms=1000)
    await holds.take_probe("e1", "other", NOW + 6000, lease_ms=60_000)
    assert (await holds.probe_failed("e1", "slow", NOW + 7000)).pause == 5000
    assert not await holds.take_probe("e1", "third", NOW + 20_000)
    assert (await holds.probe_failed("e1", "other", NOW + 21_000)).pause == 10_000


async def test_releasing_and_clearing_forget_everything(holds: Holds) -> None:
    unknown = HoldState(0, None, None, None)
    await hold(holds)
    await holds.take_probe("e1", "worker", NOW + 5000)
    assert await holds.succeeded("e1") is True
    assert await holds.state(["e1"]) == {"e1": unknown}
    assert await holds.probe_failed("e1", "worker", NOW) == unknown
    await hold(holds)
    await holds.clear("e1")
    assert await holds.state(["e1", "e2"]) == {"e1": unknown, "e2": unknown}


async def test_redis_keeps_the_time_when_nobody_gives_one(connection: Connection) -> None:
    holds = Holds(connection, threshold=1, shortest=timedelta(milliseconds=50))
    before = await connection.now("hold")
    state = await holds.failed("e1")
    assert state.since is not None
    assert before * 1000 <= state.since <= (await connection.now("hold") + 1) * 1000
    await eventually(lambda: holds.take_probe("e1", "worker"))


async def test_what_nobody_touches_is_forgotten(connection: Connection) -> None:
    holds = Holds(connection, life=timedelta(hours=1))
    await hold(holds)
    assert 3500 < await connection.ask("TTL", f"{connection.prefix}hold:{{e1}}") <= 3600


@given(st.lists(st.sampled_from("FS"), max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_an_endpoint_is_held_exactly_after_five_failures_since_the_last_success(
    redis_url: str, key_prefix: str, outcomes: list[str]
) -> None:
    async def follow() -> None:
        async with await Connection.open(redis_url, prefix=key_prefix) as connection:
            holds = Holds(connection)
            await holds.clear("e1")
            row = 0
            for outcome in outcomes:
                if outcome == "F":
                    row += 1
                    assert (await holds.failed("e1", NOW)).begins == (row == 5)
                else:
                    assert await holds.succeeded("e1") == (row >= 5)
                    row = 0
                assert (await holds.state(["e1"]))["e1"].held == (row >= 5)
            await holds.clear("e1")

    asyncio.run(follow())
