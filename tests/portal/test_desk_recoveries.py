"""Recoveries that a UAA begins at the desk."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from claimbus.broker import journal
from claimbus.cli.settings import Settings
from claimbus.database import audit, participants
from claimbus.database import recoveries as rows
from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.database.recoveries import WHY_LOST
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time
from claimbus.portal.desk import backlog, endpoints, rates, recoveries
from claimbus.portal.desk.endpoints import New
from claimbus.portal.desk.rates import TooOftenError
from claimbus.portal.desk.recoveries import EACH, Recovery, TooManyError
from claimbus.portal.problems import ForbiddenError, problem_of
from tests.portal import seeding
from tests.portal.asking import asking
from tests.portal.portals import Got, Portal, open_portal
from tests.portal.processes import portal_process
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


def _begun(got: Got) -> datetime:
    """When a recovery was begun, as the API tells it."""
    return datetime.fromisoformat(got.json["begun_at"])


async def ended(portal: Portal, who: Principal, id_: str) -> Recovery:
    """Wait until a recovery has ended."""

    async def look() -> Recovery | None:
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
    assert found.recovered["redelivered"] == 3
    assert found.read == found.total > 0

    async def waits() -> bool:
        counts = (await backlog.of(portal.services, [at], kept=0))[at.id]
        return counts is not None and counts.messages == 6

    await eventually(waits)
    with portal.services.database.snapshot() as sql:
        entries = audit.find(sql, object_id=at.id, actor="kay").rows
    assert [one.action for one in entries] == ["recovered", "recovery begun"]
    assert {one.reason for one in entries} == {"we lost a disk"}
    assert [one.id for one in (await recoveries.find(portal.services, who)).rows] == [id_]


async def test_one_recovery_of_an_endpoint_at_a_time(portal: Portal) -> None:
    at = await receiving(portal)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    id_ = await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
    with pytest.raises(DuplicateError):
        await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
    await ended(portal, OPERATOR, id_)
    await ended(portal, OPERATOR, await recoveries.start(portal.services, OPERATOR, at.id, hour_ago))


async def test_recoveries_of_an_endpoint_have_a_rate(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "RECOVERING", rates.Pace("recoveries", each=5, to=1))
    at, hour_ago = await receiving(portal), datetime.now(UTC) - timedelta(hours=1)
    await ended(portal, OPERATOR, await recoveries.start(portal.services, OPERATOR, at.id, hour_ago))
    with pytest.raises(TooOftenError, match="an endpoint may have 1 recoveries a minute"):
        await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)


async def test_every_portal_tells_of_a_recovery_and_lets_no_other_begin(
    portal: Portal, settings: Settings, tmp_path: Path
) -> None:
    at = await receiving(portal)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    (tmp_path / "other").mkdir()
    async with open_portal(settings, tmp_path / "other") as other:
        begun = await asyncio.gather(
            *(recoveries.start(one.services, OPERATOR, at.id, hour_ago) for one in (portal, other)),
            return_exceptions=True,
        )
        (id_,) = (one for one in begun if isinstance(one, str))
        (refused,) = (one for one in begun if isinstance(one, Exception))
        assert isinstance(refused, DuplicateError)
        for one in (portal, other):
            found = await ended(one, OPERATOR, id_)
            assert (found.state, found.read) == ("done", found.total), found.why
            assert (await recoveries.find(one.services, OPERATOR, endpoint_id=at.id)).rows == (found,)


async def test_a_recovery_whose_portal_was_killed_has_failed_and_another_may_begin(
    portal: Portal, settings: Settings, tmp_path: Path
) -> None:
    at = await receiving(portal)
    hour_ago = format_time(datetime.now(UTC) - timedelta(hours=1))
    (tmp_path / "other").mkdir()
    certificate = tmp_path / "other" / "portal.pem"
    portal.ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    slow = settings.model_copy(update={"replay_rate": 0.1})
    async with portal_process(slow, certificate) as other:
        there = Portal(portal.services, other.url, portal.ca)
        async with asking(there, portal.token(Role.OPERATOR)) as program:
            got = await program.post("/v1/recoveries", {"endpoint_id": at.id, "since": hour_ago})
            assert got.status == 202, got.body
            id_ = got.json["id"]

            async def is_under_way() -> bool:
                return (await recoveries.get(portal.services, OPERATOR, id_)).beat_at > _begun(got)

            await eventually(is_under_way)
        other.process.kill()
        await other.process.wait()
    with pytest.raises(DuplicateError):  # nobody can know yet
        await recoveries.start(portal.services, OPERATOR, at.id, datetime.now(UTC) - timedelta(hours=1))
    with portal.services.database.transaction() as sql:
        sql.execute(text("UPDATE recoveries SET beat_at = beat_at - 30000"))
    found = await recoveries.get(portal.services, OPERATOR, id_)
    assert (found.state, found.why) == ("failed", WHY_LOST)
    again = await recoveries.start(
        portal.services, OPERATOR, at.id, datetime.now(UTC) - timedelta(hours=1), all_=True
    )
    assert (await ended(portal, OPERATOR, again)).state == "done"
    assert (await recoveries.get(portal.services, OPERATOR, id_)).state == "failed"


async def test_a_portal_that_hung_gives_up_what_counts_as_failed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_portal(settings.model_copy(update={"replay_rate": 0.5}), tmp_path) as portal:
        at = await receiving(portal)
        id_ = await recoveries.start(portal.services, OPERATOR, at.id, datetime.now(UTC) - timedelta(hours=1))
        monkeypatch.setattr(rows, "LOST", timedelta(0))  # as if no sign had come for long
        found = await ended(portal, OPERATOR, id_)
        assert (found.state, found.why) == ("failed", WHY_LOST)

        def is_given_up() -> bool:
            return not any(task.get_name() == f"recovers {at.id}" for task in asyncio.all_tasks())

        await eventually(is_given_up)
        with portal.services.database.snapshot() as sql:
            (entry,) = audit.find(sql, object_id=at.id, limit=1).rows
        assert entry.action == "recovered"
        assert entry.after is not None
        assert entry.after["redelivered"] < 3


async def test_a_portal_that_is_stopped_says_so_of_its_recoveries(
    portal: Portal, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    slow = settings.model_copy(update={"replay_rate": 0.1})
    async with open_portal(slow, tmp_path / "other") as other:
        at = await receiving(other)
        id_ = await recoveries.start(other.services, OPERATOR, at.id, datetime.now(UTC) - timedelta(hours=1))
    found = await recoveries.get(portal.services, OPERATOR, id_)
    assert (found.state, found.why) == ("failed", "the portal was stopped")


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
    assert (await recoveries.find(portal.services, other)).rows == ()
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


async def test_any_portal_stops_a_recovery_and_the_one_that_runs_it_gives_up(
    portal: Portal, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    slow = settings.model_copy(update={"replay_rate": 0.1})
    async with open_portal(slow, tmp_path / "other") as other:
        at, hour_ago = await receiving(other), datetime.now(UTC) - timedelta(hours=1)
        portal.participant("SCEC")
        id_ = await recoveries.start(other.services, OPERATOR, at.id, hour_ago)
        for asked in (id_, "rv_none"):
            with pytest.raises(ForbiddenError):
                await recoveries.stop(portal.services, uaa(portal, "SCEC"), asked)
        stopped = await recoveries.stop(portal.services, uaa(portal, "PGAE"), id_, reason="wrong day")
        assert (stopped.state, stopped.why) == ("stopped", "stopped by kay")

        def is_given_up() -> bool:
            return not any(task.get_name() == f"recovers {at.id}" for task in asyncio.all_tasks())

        await eventually(is_given_up)
        with pytest.raises(InvalidInputError, match="it is stopped"):
            await recoveries.stop(other.services, OPERATOR, id_)
        assert (await recoveries.get(other.services, OPERATOR, id_)).state == "stopped"
        with portal.services.database.snapshot() as sql:
            (entry,) = (one for one in audit.find(sql, object_id=at.id).rows if one.actor == "kay")
        assert (entry.action, entry.reason, entry.after) == (
            "recovery stopped",
            "wrong day",
            {"recovery": id_},
        )


async def test_nobody_takes_all_the_places_and_who_comes_too_late_learns_why(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_portal(settings.model_copy(update={"replay_rate": 0.1}), tmp_path) as portal:
        first, hour_ago = await receiving(portal), datetime.now(UTC) - timedelta(hours=1)
        others = [seeding.endpoint(portal, name=f"other {number}") for number in range(EACH)]
        for at in (first, *others[:-1]):
            await recoveries.start(portal.services, OPERATOR, at.id, hour_ago)
        with pytest.raises(TooManyError, match="2 recoveries of yours are running") as refused:
            await recoveries.start(portal.services, OPERATOR, others[-1].id, hour_ago)
        assert problem_of(refused.value).detail == str(refused.value)
        monkeypatch.setattr(recoveries, "AT_ONCE", EACH)
        with pytest.raises(TooManyError, match=r"^2 recoveries are running"):
            await recoveries.start(portal.services, uaa(portal, "PGAE"), others[-1].id, hour_ago)
