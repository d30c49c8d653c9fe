"""The operators' overview, on real servers, and on servers that are away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from claimbus.cli.settings import Settings
from claimbus.database import holds
from claimbus.database.access import Principal, Role
from claimbus.database.holds import HoldEvent
from claimbus.database.schema import milliseconds
from claimbus.portal.desk import endpoints, overview
from claimbus.portal.desk.endpoints import New
from claimbus.portal.desk.figures import Overview
from claimbus.portal.desk.overview import quantile
from claimbus.portal.problems import ForbiddenError
from tests.broker.proxy import Proxy
from tests.claimstore.private import PrivateRedis
from tests.portal import seeding
from tests.portal.portals import Portal, open_portal
from tests.producers.bus import closed
from tests.waiting import eventually

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))
PARTS = ("arrivals", "flow", "backlog", "workers", "held", "dead", "rabbitmq", "redis", "database")


async def until(portal: Portal, seen: Callable[[Overview], bool]) -> Overview:
    """Look until what is expected is seen."""

    async def look() -> Overview | None:
        found = await overview.now(portal.services, OPERATOR)
        return found if seen(found) else None

    return await eventually(look, every=0.1)


async def test_every_part_is_there_while_all_servers_answer(portal: Portal) -> None:
    found = await overview.now(portal.services, OPERATOR)
    assert {name: getattr(found, name).why for name in PARTS} == dict.fromkeys(PARTS, "")
    assert found.rabbitmq.found is not None
    assert found.rabbitmq.found.version[0].isdigit()
    assert found.redis.found is not None
    assert found.redis.found.used > 0


async def test_only_operators_see_it(portal: Portal) -> None:
    for role in (Role.PARTICIPANT, Role.UAA, Role.PUBLISHER, Role.ADMIN):
        with pytest.raises(ForbiddenError):
            await overview.now(portal.services, Principal(name="x", roles=frozenset({role})))


async def test_all_who_look_at_once_share_one_look(portal: Portal) -> None:
    found = await asyncio.gather(*(overview.now(portal.services, OPERATOR) for _ in range(20)))
    assert len({id(one) for one in found}) == 1


async def test_what_is_published_and_waits_is_seen_within_a_look(portal: Portal) -> None:
    portal.participant("PGAE")
    new = New(participant_id="PGAE", kind="stream", settings={"name": "one"}, subscriptions=["#"])
    added = await endpoints.add(portal.services, OPERATOR, new)
    assert added.late is None
    await until(portal, lambda seen: seen.arrivals.found is not None and seen.arrivals.found.seconds > 0)
    producer = portal.services.producer("oms")
    for number in range(5):
        await producer.publish(closed(number + 1))

    def is_seen(seen: Overview) -> bool:
        backlog, arrivals = seen.backlog.found, seen.arrivals.found
        return (
            backlog is not None and backlog.total == 5 and arrivals is not None and bool(arrivals.events_rate)
        )

    found = await until(portal, is_seen)
    assert found.backlog.found is not None
    assert [(row.endpoint.id, row.messages) for row in found.backlog.found.longest] == [
        (added.endpoint.id, 5)
    ]


async def test_held_endpoints_tell_since_when_and_why(portal: Portal) -> None:
    portal.participant("PGAE")
    at = seeding.endpoint(portal)
    before = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(5):
        await portal.services.holds.failed(at.id)
    with portal.services.database.transaction() as sql:
        holds.record(sql, HoldEvent(at.id, "held", datetime.now(UTC), "5 times HTTP 503"))
    (held,) = (await overview.now(portal.services, OPERATOR)).held.found or ()
    assert (held.endpoint.id, held.why, held.failures) == (at.id, "5 times HTTP 503", 5)
    assert before < held.since < datetime.now(UTC) + timedelta(seconds=1)


async def test_nobody_takes_from_an_endpoint_only_once_workers_had_time_to(portal: Portal) -> None:
    portal.participant("PGAE")
    old, new, turned = (
        seeding.endpoint(portal, name=name, url=f"https://{name}.invalid/")
        for name in ("old", "new", "turned")
    )
    now = datetime.now(UTC)
    hour_ago = now - timedelta(hours=1)
    dated = text("UPDATE endpoints SET created_at = :created, verified_at = :verified WHERE id = :id")
    with portal.services.database.transaction() as sql:
        for one, *moments in ((old, hour_ago, hour_ago), (new, now, now), (turned, hour_ago, now)):
            created, verified = map(milliseconds, moments)
            sql.execute(dated, {"id": one.id, "created": created, "verified": verified})
    workers = (await overview.now(portal.services, OPERATOR)).workers.found
    assert workers is not None
    assert [one.name for one in workers.unattended] == ["old"]
    assert workers.active == 1
    assert new.state == turned.state == "active"


async def test_dead_letters_are_counted_by_cause_and_of_the_last_hour(portal: Portal) -> None:
    portal.participant("PGAE")
    at = seeding.endpoint(portal)
    await seeding.cemetery(portal).bury(at, count=3)
    await seeding.cemetery(portal).bury(at, count=1, cause="expired")
    dead = (await overview.now(portal.services, OPERATOR)).dead.found
    assert dead is not None
    assert [(one.cause, one.count, one.last_hour) for one in dead] == [("rejected", 3, 3), ("expired", 1, 1)]


async def test_deliveries_of_the_last_minute_make_the_flow(portal: Portal) -> None:
    portal.participant("PGAE")
    at = seeding.endpoint(portal)
    seeding.record(portal, *(seeding.attempt(at, duration_ms=10) for _ in range(119)))
    seeding.record(portal, seeding.attempt(at, duration_ms=900), seeding.attempt(at, verdict="failed"))
    flow = (await overview.now(portal.services, OPERATOR)).flow.found
    assert flow is not None
    assert (flow.deliveries_rate, flow.failures_rate) == (2.0, 1 / 60)
    assert (flow.p50_ms, flow.p99_ms) == (10, 10)


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 20)), st.floats(0.01, 1))
def test_a_quantile_is_not_exceeded_by_its_share_of_all(counted: dict[int, int], share: float) -> None:
    found = quantile(counted, share)
    everything = sorted(value for value, count in counted.items() for _ in range(count))
    if not everything:
        assert found is None
        return
    assert found in counted
    assert sum(value <= found for value in everything) >= share * len(everything) - 1e-6


@asynccontextmanager
async def _breakable(settings: Settings, folder: Path) -> AsyncIterator[tuple[Portal, PrivateRedis, Proxy]]:
    redis = PrivateRedis(folder)
    redis.start()
    redis.wait()
    proxy = Proxy(settings.amqp_url)
    await proxy.start()
    own = settings.model_copy(update={"redis_url": redis.url, "amqp_url": proxy.url})
    try:
        async with open_portal(own, folder) as portal:
            yield portal, redis, proxy
            if not redis.running:
                redis.start()
                redis.wait()
    finally:
        redis.kill()
        await proxy.refuse()


async def test_a_server_that_is_away_takes_only_its_own_parts_with_it(
    settings: Settings, tmp_path: Path
) -> None:
    async with _breakable(settings, tmp_path) as (portal, redis, proxy):
        portal.participant("PGAE")
        seeding.endpoint(portal)
        await overview.now(portal.services, OPERATOR)
        await proxy.refuse()
        found = await until(portal, lambda seen: bool(seen.rabbitmq.why))
        away = {"arrivals", "backlog", "workers", "rabbitmq"}
        assert {name for name in PARTS if getattr(found, name).why} == away
        redis.kill()
        found = await until(portal, lambda seen: bool(seen.redis.why))
        assert {name for name in PARTS if getattr(found, name).why} == away | {"held", "redis"}
