"""Recoveries that a UAA begins at the desk."""

from datetime import UTC, datetime, timedelta

import pytest

from claimbus.broker import journal
from claimbus.database import audit, participants
from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import backlog, endpoints, recoveries
from claimbus.portal.desk.endpoints import New
from claimbus.portal.desk.recoveries import Progress
from claimbus.portal.problems import ForbiddenError
from tests.portal import seeding
from tests.portal.portals import Portal
from tests.producers.bus import closed
from tests.waiting import eventually

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for more entries at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)


def uaa(portal: Portal, participant: str) -> Principal:
    """The UAA of a participant."""
    with portal.services.database.snapshot() as sql:
        found = participants.get(sql, participant)
    roles = frozenset({Role.UAA})
    return Principal(name="kay", roles=roles, organisation_id=found.organisation_id, participants=(found,))


async def receiving(portal: Portal) -> Endpoint:
    """A stream of PGAE's with a queue, and three events in it that nobody has taken."""
    portal.participant("PGAE")
    new = New(participant_id="PGAE", kind="stream", settings={"name": "one"}, subscriptions=["market.#"])
    at = (await endpoints.add(portal.services, OPERATOR, new)).endpoint
    for number in range(3):
        await portal.services.producer("oms").publish(closed(number + 1))
    return at


async def ended(portal: Portal, who: Principal, id_: str) -> Progress:
    """Wait until a recovery has ended."""

    async def look() -> Progress | None:
        found = await recoveries.get(portal.services, who, id_)
        return None if found.state == "running" else found

    return await eventually(look)


async def test_an_endpoint_gets_what_it_missed_and_the_audit_says_who_wanted_it(portal: Portal) -> None:
    at = await receiving(portal)
    who = uaa(portal, "PGAE")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    id_ = await recoveries.start(portal.services, who, at.id, hour_ago, reason="we lost a disk")
    found = await ended(portal, who, id_)
    assert found.state == "done", found.why
    assert found.recovered is not None
    assert found.recovered.redelivered == 3
    assert found.read == found.total > 0

    async def waits() -> bool:
        counts = (await backlog.of(portal.services, [at], kept=0))[at.id]
        return counts is not None and counts.messages == 6

    await eventually(waits)
    with portal.services.database.snapshot() as sql:
        entries = audit.find(sql, object_id=at.id, actor="kay").rows
    assert [one.action for one in entries] == ["recovered", "recovery begun"]
    assert {one.reason for one in entries} == {"we lost a disk"}
    assert [one.id for one in await recoveries.find(portal.services, who)] == [id_]


async def test_one_recovery_of_an_endpoint_at_a_time(portal: Portal) -> None:
    at = await receiving(portal)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    id_ = await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
    with pytest.raises(DuplicateError):
        await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
    await ended(portal, OPERATOR, id_)
    await ended(portal, OPERATOR, await recoveries.start(portal.services, OPERATOR, at.id, hour_ago))


async def test_nobody_recovers_or_sees_another_s(portal: Portal) -> None:
    at = await receiving(portal)
    portal.participant("SCEC")
    other, hour_ago = uaa(portal, "SCEC"), datetime.now(UTC) - timedelta(hours=1)
    with pytest.raises(ForbiddenError):
        await recoveries.start(portal.services, other, at.id, hour_ago)
    id_ = await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
    for asked in (id_, "rv_none"):
        with pytest.raises(ForbiddenError):
            await recoveries.get(portal.services, other, asked)
    with pytest.raises(NotFoundError):
        await recoveries.get(portal.services, OPERATOR, "rv_none")
    assert await recoveries.find(portal.services, other) == ()
    await ended(portal, OPERATOR, id_)


async def test_what_cannot_be_recovered_names_the_argument(portal: Portal) -> None:
    portal.participant("PGAE")
    at, now = seeding.endpoint(portal), datetime.now(UTC)
    hour = timedelta(hours=1)
    for since, until, type_, field in (
        (now + hour, None, None, "since"),
        (now - hour, now - 2 * hour, None, "until"),
        (now - hour, None, "oms..x", "type"),
    ):
        with pytest.raises(InvalidInputError) as wrong:
            await recoveries.start(portal.services, OPERATOR, at.id, since, until=until, type_=type_)
        assert wrong.value.field == field
