"""Participants, as operators add them and change what is theirs: never without a reason."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from claimbus.database import audit, entitlements, participants
from claimbus.database.entitlements import Entitlement
from claimbus.database.participants import Participant
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import HTML, logged_in, text
from tests.portal.visitors import Visitor

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
WHY = {"reason": "as agreed"}


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


@pytest.fixture
async def operator(portal: Portal) -> AsyncIterator[Visitor]:
    async with logged_in(portal) as visitor:
        yield visitor


NEW = {"id": "SCEC", "organisation": "Edison", "founded": "yes", "patterns": "oms.#\r\nmarket.dam.*"}


async def test_a_participant_is_added_with_its_organisation(portal: Portal, operator: Visitor) -> None:
    assert 'href="/participants/new"' in text(await operator.get("/participants"))
    form = text(await operator.get("/participants/new"))
    assert '<option value="PGAE Inc">' in form
    assert ">#</textarea>" in form
    led = await operator.post("/participants/new", NEW | WHY)
    assert led.headers["location"] == "/participants/SCEC?said=participant"
    page = text(await operator.get(led.headers["location"]))
    assert "The participant was added." in page
    assert "of Edison" in page
    assert _known(portal, "SCEC").event_types == ("oms.#", "market.dam.*")
    assert _reasons(portal, "participant") == ["as agreed"]


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "scec"}, "id"),
        ({"id": "PGAE"}, "id"),
        ({"organisation": ""}, "organisation"),
        ({"organisation": "Edisen", "founded": ""}, "organisation"),
        ({"patterns": "no such"}, "patterns"),
        ({"reason": " "}, "reason"),
    ],
)
async def test_a_participant_that_is_not_ready_comes_back_as_typed(
    portal: Portal, operator: Visitor, typed: dict[str, str], field: str
) -> None:
    await operator.get("/participants/new")
    got = await operator.post("/participants/new", NEW | WHY | typed)
    page = text(got)
    assert got.status == 422
    assert f'href="#f-{field}"' in page
    for name, value in (NEW | WHY | typed).items():
        assert name == "founded" or value.strip() in page
    with portal.services.database.snapshot() as sql:
        assert [one.id for one in participants.find(sql)] == ["PGAE"]
        assert participants.find_organisations(sql) == ("PGAE Inc",)


async def test_event_types_are_opened_and_closed_with_a_reason(portal: Portal, operator: Visitor) -> None:
    path = "/participants/PGAE/event-types"
    assert f'href="{path}"' in text(await operator.get("/participants/PGAE"))
    assert "data-ask" in text(await operator.get(path))
    assert (await operator.post(path, WHY | {"patterns": "oms.#\r\nmarket.dam.*"})).status == 303
    assert _known(portal, "PGAE").event_types == ("oms.#", "market.dam.*")
    page = text(await operator.get("/participants/PGAE"))
    assert "/events/market.dam.closed" in page
    assert "/events/market.ruc.opened" not in page
    for wrong, field in ((WHY | {"patterns": "no such"}, "patterns"), ({"patterns": "market.#"}, "reason")):
        got = await operator.post(path, wrong)
        assert got.status == 422
        assert f'href="#f-{field}"' in text(got)
        assert wrong["patterns"] in text(got)
    assert (await operator.post(path, WHY)).status == 303
    assert _known(portal, "PGAE").event_types == ()
    assert "None: it gets nothing." in text(await operator.get("/participants/PGAE"))


async def test_a_contact_is_added_once_it_is_an_address(portal: Portal, operator: Visitor) -> None:
    path = "/participants/PGAE/tell"
    await operator.get(path)
    wrong = await operator.post(path, WHY | {"email": "nobody"})
    assert wrong.status == 422
    assert 'aria-invalid="true"' in text(wrong)
    assert (await operator.post(path, WHY | {"email": "joe@pgae.example"})).status == 303
    assert "joe@pgae.example" in text(await operator.get("/participants/PGAE"))
    assert _reasons(portal, "contact") == ["as agreed"]


async def test_a_contact_is_removed_with_a_reason(portal: Portal, operator: Visitor) -> None:
    with portal.services.database.transaction() as sql:
        for email in ("o'hara+iso@pgae.example", "joe@pgae.example"):
            participants.add_contact(sql, "PGAE Inc", email, ACT)
    page = text(await operator.get("/participants/PGAE"))
    [path] = re.findall(r'href="(/participants/PGAE/forget\?[^"]*hara[^"]*)"', page)
    asked = text(await operator.get(path))
    assert "o'hara+iso@pgae.example" in asked
    assert "data-ask" in asked
    fields = {"email": "o'hara+iso@pgae.example"}
    assert (await operator.post("/participants/PGAE/forget", fields)).status == 422
    assert (await operator.post("/participants/PGAE/forget", fields | WHY)).status == 303
    page = text(await operator.get("/participants/PGAE"))
    assert "o'hara" not in page
    assert "joe@pgae.example" in page
    assert _reasons(portal, "contact") == ["as agreed"]
    assert (await operator.post("/participants/PGAE/forget", fields | WHY)).status == 422


async def test_a_resource_is_owned_from_a_moment_until_another(portal: Portal, operator: Visitor) -> None:
    path = "/participants/PGAE/own"
    await operator.get(path)
    owned = {"resource": "SUNRIV_2 'ODD", "from": "2026-03-01T00:00", "to": "2027-03-01T00:00"}
    assert (await operator.post(path, WHY | owned)).status == 303
    [held] = _owned(portal)
    assert held.resource_id == "SUNRIV_2 'ODD"
    assert held.valid_from == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert held.valid_to == datetime(2027, 3, 1, 8, tzinfo=UTC)
    assert (await operator.post(path, WHY | owned | {"from": owned["to"], "to": ""})).status == 303
    assert (await operator.post(path, WHY | {"resource": "OTHER_1"})).status == 303
    [other] = [one for one in _owned(portal) if one.resource_id == "OTHER_1"]
    assert other.valid_to is None
    assert abs(other.valid_from - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"resource": ""}, "resource"),
        ({"resource": "OWNED_1"}, "resource"),
        ({"resource": "OWNED_1", "from": "2020-01-01T00:00"}, "resource"),
        ({"from": "soon"}, "from"),
        ({"from": "2026-03-01T00:00", "to": "2026-03-01T00:00"}, "to"),
        ({"reason": ""}, "reason"),
    ],
)
async def test_what_cannot_be_owned_is_told_at_its_field(
    portal: Portal, operator: Visitor, typed: dict[str, str], field: str
) -> None:
    _own(portal, Entitlement("OWNED_1", "PGAE", NOW - DAY))
    await operator.get("/participants/PGAE/own")
    got = await operator.post("/participants/PGAE/own", {"resource": "NEW_1"} | WHY | typed)
    assert got.status == 422
    assert f'href="#f-{field}"' in text(got)
    assert len(_owned(portal)) == 1


async def test_what_is_owned_ends_now_or_when_it_is_said(portal: Portal, operator: Visitor) -> None:
    later = NOW + 9 * DAY
    _own(
        portal,
        Entitlement(HTML[:40], "PGAE", NOW - DAY),
        Entitlement("LATER_1", "PGAE", later),
        Entitlement("OTHER_1", "PGAE", NOW - DAY),
    )
    assert HTML[:40].encode() not in (await operator.get("/participants/PGAE")).body
    begins = {one.resource_id: one.valid_from.isoformat() for one in _owned(portal)}
    path = "/participants/PGAE/end"
    named = urlencode({"resource": "OTHER_1", "begin": begins["OTHER_1"]})
    asked = text(await operator.get(f"{path}?{named}"))
    assert "OTHER_1" in asked
    assert "data-ask" in asked
    for resource, to in ((HTML[:40], ""), ("LATER_1", ""), ("OTHER_1", "2036-01-01T00:00")):
        fields = {"resource": resource, "begin": begins[resource], "to": to}
        assert (await operator.post(path, fields)).status == 422
        assert (await operator.post(path, fields | WHY)).status == 303
    ends = {one.resource_id: one.valid_to for one in _owned(portal)}
    assert ends["LATER_1"] == later
    assert ends["OTHER_1"] == datetime(2036, 1, 1, 8, tzinfo=UTC)
    assert abs((ends[HTML[:40]] or NOW) - datetime.now(UTC)) < timedelta(minutes=5)
    assert "1 in the past" in text(await operator.get("/participants/PGAE"))
    assert _reasons(portal, "entitlement").count("as agreed") == 3


async def test_what_it_does_not_own_cannot_be_ended(portal: Portal, operator: Visitor) -> None:
    _own(portal, Entitlement("OWNED_1", "PGAE", NOW - DAY))
    path = "/participants/PGAE/end"
    for fields in (
        {"resource": "OWNED_1", "begin": NOW.isoformat()},
        {"resource": "OTHER_1", "begin": (NOW - DAY).isoformat()},
        {"resource": "OWNED_1"},
        {"resource": "OWNED_1", "begin": "never"},
    ):
        assert (await operator.get(f"{path}?{urlencode(fields)}")).status == 422
        assert (await operator.post(path, fields | WHY)).status == 422
    before = {"resource": "OWNED_1", "begin": (NOW - DAY).isoformat(), "to": "2020-01-01T00:00"}
    got = await operator.post(path, before | WHY)
    assert got.status == 422
    assert 'href="#f-to"' in text(got)
    assert _owned(portal)[0].valid_to is None


async def test_nothing_is_changed_about_a_participant_that_is_not_there(operator: Visitor) -> None:
    await operator.get("/participants")
    for change in ("event-types", "own", "tell"):
        assert (await operator.get(f"/participants/NOBODY/{change}")).status == 404
        assert (await operator.post(f"/participants/NOBODY/{change}", WHY)).status == 404


def _known(portal: Portal, participant: str) -> Participant:
    with portal.services.database.snapshot() as sql:
        return participants.get(sql, participant)


def _own(portal: Portal, *owned: Entitlement) -> None:
    with portal.services.database.transaction() as sql:
        entitlements.put(sql, owned, ACT)


def _owned(portal: Portal) -> tuple[Entitlement, ...]:
    with portal.services.database.snapshot() as sql:
        return entitlements.find(sql, participant_id="PGAE")


def _reasons(portal: Portal, kind: str) -> list[str]:
    with portal.services.database.snapshot() as sql:
        return [one.reason for one in audit.find(sql, kind=kind).rows if one.reason]
