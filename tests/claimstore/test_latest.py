"""Rule 7: the newest delivered sequence of each outage, by endpoint, compared as numbers."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimstore.connection import Connection
from claimstore.latest import Latest


@pytest.fixture
def latest(connection: Connection) -> Latest:
    return Latest(connection, life=timedelta(hours=1))


async def test_nothing_was_delivered_at_first(latest: Latest) -> None:
    assert await latest.newest("e1", "outage") is None


async def test_sequences_are_compared_as_numbers_and_only_grow(latest: Latest) -> None:
    for sequence, newest in ((0, 0), (9, 9), (10, 10), (9, 10), (10, 10), (100, 100), (99, 100)):
        assert await latest.delivered("e1", "outage", sequence) == newest
        assert await latest.newest("e1", "outage") == newest


async def test_sequences_beyond_a_doubles_precision_are_told_apart(latest: Latest) -> None:
    assert await latest.delivered("e1", "outage", 2**53) == 2**53
    assert await latest.delivered("e1", "outage", 2**53 + 1) == 2**53 + 1
    assert await latest.delivered("e1", "outage", 2**63 - 1) == 2**63 - 1


async def test_endpoints_and_outages_do_not_mix(latest: Latest) -> None:
    await latest.delivered("e1", "outage", 5)
    assert await latest.newest("e2", "outage") is None
    assert await latest.newest("e1", "another") is None


async def test_it_is_kept_for_a_claims_life_after_its_last_use(
    latest: Latest, connection: Connection
) -> None:
    key = f"{connection.prefix}latest:{{e1}}:outage"
    await latest.delivered("e1", "outage", 5)
    await connection.ask("EXPIRE", key, 10)
    await latest.delivered("e1", "outage", 4)
    assert 3500 < await connection.ask("TTL", key) <= 3600


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 120), min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_in_any_order_the_greatest_wins(redis_url: str, key_prefix: str, sequences: list[int]) -> None:
    async def deliver() -> None:
        async with await Connection.open(redis_url, prefix=key_prefix) as connection:
            await connection.ask("DEL", f"{key_prefix}latest:{{e1}}:outage")
            latest = Latest(connection, life=timedelta(minutes=1))
            await asyncio.gather(*(latest.delivered("e1", "outage", sequence) for sequence in sequences))
            assert await latest.newest("e1", "outage") == max(sequences)

    asyncio.run(deliver())
