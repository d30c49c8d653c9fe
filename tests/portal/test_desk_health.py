"""Endpoints' health: a day by the hour, the last delivery, the hold."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.database import participants
from claimbus.database.access import Principal, Role
from claimbus.database.schema import milliseconds
from claimbus.portal.desk import health
from claimbus.portal.problems import ForbiddenError
from tests.portal import seeding
from tests.portal.portals import Portal

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))


def ago(**span: float) -> int:
    """Milliseconds since the epoch, some time ago."""
    return milliseconds(datetime.now(UTC) - timedelta(**span))


async def test_the_day_is_counted_by_the_hour(portal: Portal) -> None:
    portal.participant("PGAE")
    at, idle = seeding.endpoint(portal), seeding.endpoint(portal, name="idle")
    seeding.record(
        portal,
        seeding.attempt(at),
        *(seeding.attempt(at, started_ms=ago(hours=3)) for _ in range(4)),
        seeding.attempt(at, started_ms=ago(hours=3), verdict="rejected"),
        seeding.attempt(at, started_ms=ago(hours=3), verdict="superseded"),
        seeding.attempt(at, started_ms=ago(hours=30)),
    )
    found = await health.of(portal.services, OPERATOR, [at.id, idle.id])
    assert list(found) == [at.id, idle.id]
    busy = found[at.id]
    assert [(one.delivered, one.failed) for one in busy.hours if one.delivered or one.failed] == [
        (4, 1),
        (1, 0),
    ]
    assert len(busy.hours) == len(found[idle.id].hours) == health.HOURS
    assert (busy.delivered, busy.failed) == (5, 1)
    begins = [one.begins for one in busy.hours]
    assert {later - earlier for earlier, later in itertools.pairwise(begins)} == {timedelta(hours=1)}
    assert busy.last_delivery is not None
    assert busy.last_failure is not None
    assert busy.last_failure < busy.last_delivery
    assert found[idle.id].last_delivery is None


async def test_a_last_delivery_of_days_ago_is_still_known(portal: Portal) -> None:
    portal.participant("PGAE")
    at = seeding.endpoint(portal)
    days_ago = ago(days=5)
    seeding.record(
        portal,
        seeding.attempt(at, started_ms=days_ago),
        seeding.attempt(at, started_ms=ago(days=4), verdict="failed"),
    )
    found = (await health.of(portal.services, OPERATOR, [at.id]))[at.id]
    assert found.last_delivery is not None
    assert milliseconds(found.last_delivery) == days_ago
    assert found.delivered == 0


async def test_a_held_endpoint_is_told_from_one_that_only_failed(portal: Portal) -> None:
    portal.participant("PGAE")
    held, failing = seeding.endpoint(portal, name="held"), seeding.endpoint(portal, name="failing")
    for _ in range(5):
        await portal.services.holds.failed(held.id)
    await portal.services.holds.failed(failing.id)
    found = await health.of(portal.services, OPERATOR, [held.id, failing.id])
    assert found[held.id].held_since is not None
    assert found[held.id].held_why == "failures in a row"
    assert found[held.id].next_probe is not None
    assert (found[failing.id].held_since, found[failing.id].held_why) == (None, "")


async def test_nobody_sees_the_health_of_another_s_endpoint(portal: Portal) -> None:
    portal.participant("PGAE")
    portal.participant("SCEC")
    own, other = seeding.endpoint(portal, "PGAE"), seeding.endpoint(portal, "SCEC")
    with portal.services.database.snapshot() as sql:
        pgae = participants.get(sql, "PGAE")
    who = Principal(name="x", roles=frozenset({Role.UAA}), organisation_id="PGAE Inc", participants=(pgae,))
    assert set(await health.of(portal.services, who, [own.id])) == {own.id}
    for ids in ([other.id], [own.id, other.id], [own.id, "ep_none"]):
        with pytest.raises(ForbiddenError):
            await health.of(portal.services, who, ids)
