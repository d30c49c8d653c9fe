"""The pages of recoveries and of credentials: what a UAA sees of their own."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.database import recoveries
from claimbus.database.access import Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.recoveries import WHY_LOST, Recovery
from claimbus.portal.desk.recoveries import BROKE_OFF
from tests.portal.portals import Portal, subject_of
from tests.portal.seeding import endpoint, logged_in, text, uaa
from tests.portal.visitors import visiting

TOLD = {
    "replay": "rc_1",
    "read": 1200,
    "concerning": 30,
    "settled": 20,
    "not_entitled": 1,
    "gone": 2,
    "redelivered": 7,
}


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


def begin(portal: Portal, at: Endpoint, number: int, **how: object) -> None:
    """Put in a recovery that ended, unless it is said how it is."""
    now = datetime.now(UTC)
    told = {
        "id": f"rv_{number:03}",
        "endpoint_id": at.id,
        "participant_id": at.participant_id,
        "actor": "kay",
        "reason": f"outage number {number}",
        "since": now - timedelta(hours=2),
        "until": None,
        "type": None,
        "everything": False,
        "begun_at": now + timedelta(seconds=number),
        "beat_at": now,
        "state": "done",
        "ended_at": now,
        "recovered": TOLD,
    }
    with portal.services.database.transaction() as sql:
        recoveries.begin(sql, Recovery(**told | how))  # type: ignore[arg-type]


async def test_a_recovery_tells_what_it_found_and_leads_to_what_it_sent(portal: Portal) -> None:
    one = endpoint(portal, name="Control room")
    begin(portal, one, 1)
    begin(portal, one, 2, state="failed", recovered=None, why=WHY_LOST, read=5, total=90)
    async with uaa(portal) as visitor:
        for path in ("/recoveries", f"/recoveries?endpoint={one.id}", f"/endpoints/{one.id}"):
            page = text(await visitor.get(path))
            for said in ("1,200 journal entries read", "30 of them concern it", "20 there already"):
                assert said in page
            for said in ("1 for others", "2 without a body any more", WHY_LOST, "5 of 90"):
                assert said in page
            assert f'href="/deliveries?replay=rc_1&endpoint={one.id}">7</a>' in page
            assert "hx-trigger" not in page


async def test_one_that_runs_is_watched_until_it_has_ended(portal: Portal) -> None:
    one = endpoint(portal)
    begin(portal, one, 1, state="running", ended_at=None, recovered=None, read=25, total=100)
    async with uaa(portal) as visitor:
        page = text(await visitor.get(f"/endpoints/{one.id}"))
        [watched] = re.findall(r'hx-get="(/recoveries[^"]+)" hx-trigger="every 1s"', page)
        assert '<progress max="100" value="25"' in page
        assert '<progress max="100" value="25"' in text(await visitor.get(watched))
        with portal.services.database.transaction() as sql:
            ended = replace(recoveries.get(sql, "rv_001"), state="done", recovered=TOLD)
            recoveries.end(sql, ended)
        assert "hx-trigger" not in text(await visitor.get(watched))


async def test_one_that_runs_is_stopped_by_who_keeps_its_endpoint(portal: Portal) -> None:
    one = endpoint(portal)
    begin(portal, one, 1)
    begin(portal, one, 2, state="running", ended_at=None, recovered=None, read=25, total=100)
    async with logged_in(portal, Role.PARTICIPANT, participant="PGAE") as visitor:
        assert '/stop"' not in text(await visitor.get("/recoveries"))
        assert (await visitor.post("/recoveries/rv_002/stop")).status == 403
    async with uaa(portal) as visitor:
        for path in ("/recoveries", f"/endpoints/{one.id}"):
            [form] = re.findall(r'<form[^>]*/stop".*?</form>', text(await visitor.get(path)))
            assert 'action="/recoveries/rv_002/stop"' in form
            for asked in ('data-ask="Stop this recovery?', '<input type="hidden" name="reason" value="">'):
                assert asked in form
        led = await visitor.post("/recoveries/rv_002/stop", {"reason": "the wrong day"})
        assert led.headers["location"] == f"/recoveries?said=stopped&endpoint={one.id}"
        page = text(await visitor.get(led.headers["location"]))
        for said in ("Stopped.", ">stopped</span>", "stopped by a test's", "25 of 100 journal entries read"):
            assert said in page
        assert ('/stop"' in page, "hx-trigger" in page) == (False, False)
        again = await visitor.post("/recoveries/rv_002/stop")
        assert again.status == 422
        assert "recovery: does not run any more: it is stopped" in text(again)
        assert "the wrong day" in text(await visitor.get("/audit"))


async def test_what_a_server_said_of_itself_is_for_operators_alone(portal: Portal) -> None:
    why = "RabbitMQ does not answer at amqp.iso.internal:5671"
    one = endpoint(portal)
    begin(portal, one, 1, state="failed", recovered=None, why=why)
    for role, organisation, read in ((Role.UAA, "PGAE Inc", BROKE_OFF), (Role.OPERATOR, None, why)):
        token = portal.token(role, organisation=organisation)
        got = await portal.get("/v1/recoveries/rv_001", token=token)
        listed = await portal.get("/v1/recoveries", token=token)
        assert [got.json["why"], listed.json["items"][0]["why"]] == [read, read]
        async with visiting(portal) as visitor:
            await visitor.log_in(token)
            for path in ("/recoveries", f"/endpoints/{one.id}"):
                page = text(await visitor.get(path))
                assert (BROKE_OFF in page, why in page) == (read == BROKE_OFF, read == why)


async def test_earlier_ones_come_by_pages(portal: Portal) -> None:
    one = endpoint(portal)
    for number in range(55):
        begin(portal, one, number)
    async with uaa(portal) as visitor:
        short = text(await visitor.get(f"/endpoints/{one.id}"))
        assert short.count("outage number") == 5
        assert f'href="/recoveries?endpoint={one.id}">Earlier ones</a>' in short
        first = text(await visitor.get(f"/recoveries?endpoint={one.id}"))
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = text(await visitor.get(f"/recoveries{following}"))
        assert (first.count("outage number"), second.count("outage number")) == (50, 5)
        assert (await visitor.get("/recoveries?cursor=x")).status == 422


async def test_anothers_recoveries_are_not_shown(portal: Portal) -> None:
    portal.participant("SCE1")
    theirs = endpoint(portal, "SCE1", name="theirs")
    begin(portal, theirs, 1)
    async with uaa(portal) as visitor:
        assert "Nothing was recovered yet" in text(await visitor.get("/recoveries"))
        assert (await visitor.get(f"/recoveries?endpoint={theirs.id}")).status == 403
    async with logged_in(portal) as visitor:
        assert "theirs" in text(await visitor.get("/recoveries"))


async def test_credentials_of_ones_organisation_are_listed_with_their_ends(portal: Portal) -> None:
    portal.participant("SCE1")
    portal.token(Role.UAA, participant="SCE1", name="a stranger's")
    portal.token(Role.PARTICIPANT, participant="PGAE", lives=timedelta(days=9), name="the daemon's")
    portal.known(subject_of("jane"), Role.UAA, participant="PGAE")
    one = endpoint(portal, url="https://one.invalid/")
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/credentials"))
        assert "the daemon's" in page
        assert re.search(r"jane.*not known until it is shown", page, re.DOTALL)
        assert re.search(r'badge warn">ends in \d+ \w+</span><small class="line"><time', page)
        assert "a stranger's" not in page
        assert "the first to end is the token" in text(await visitor.get(f"/endpoints/{one.id}"))
    async with logged_in(portal, Role.PARTICIPANT, participant="PGAE") as visitor:
        assert (await visitor.get("/credentials")).status == 403
        assert "the first to end" not in text(await visitor.get(f"/endpoints/{one.id}"))
