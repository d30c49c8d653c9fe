"""The pages of event types, and of the audit."""

import re

import pytest

from claimbus.database import audit, endpoints
from claimbus.database.access import Role
from claimbus.database.audit import Act, Subject
from claimbus.events import catalogue
from claimbus.portal.pages.events import properties
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import HTML, endpoint, logged_in, text, uaa


@pytest.fixture
def portal(portal: Portal) -> Portal:
    portal.participant("PGAE")
    return portal


async def test_every_type_has_its_page_with_fields_and_an_example(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/events"))
        for name in catalogue.EVENT_TYPES:
            assert f'href="/events/{name}"' in page
        for name in ("oms.resource-outage.changed", "market.dam.closed", "system.notice.published"):
            got = await visitor.get(f"/events/{name}")
            assert got.status == 200
            assert catalogue.schema_uri(name, 1) in text(got)
        assert (await visitor.get("/events/oms.resource-outage.chnged")).status == 404
        assert "did you mean 'oms.resource-outage.changed'?" in text(
            await visitor.get("/events/oms.resource-outage.chnged")
        )
        assert "No type is like that" in text(await visitor.get("/events?text=nothing"))
        assert "1 type:" in text(await visitor.get("/events?text=NOTICE.published"))


async def test_an_older_version_has_its_own_fields_example_and_end(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        newest = text(await visitor.get("/events/oms.resource-outage.created"))
        older = text(await visitor.get("/events/oms.resource-outage.created?version=1"))
    assert "curtailments[].mw" in newest
    assert "curtailment_mw" not in newest
    assert "curtailments" not in older
    assert '"curtailment_mw":' in older
    assert "ends 2027-10-01" in older


async def test_a_type_that_is_not_open_says_so(portal: Portal) -> None:
    portal.participant("SCE1", "market.#")
    async with uaa(portal, "SCE1 Inc") as visitor:
        assert "This type is not open to you." in text(await visitor.get("/events/oms.resource-outage.ended"))
        assert "not open to you" not in text(await visitor.get("/events/market.dam.closed"))


def test_the_fields_of_every_body_are_all_listed() -> None:
    for name, kind in catalogue.EVENT_TYPES.items():
        listed = list(properties(kind.newest.schema.document))
        assert set(kind.example) <= {one.path for one in listed}, name
        assert all(one.kind for one in listed), name


async def test_the_audit_shows_what_changed_and_is_narrowed_by_filters(portal: Portal) -> None:
    one = endpoint(portal)
    with portal.services.database.transaction() as sql:
        endpoints.change(sql, one.id, Act("jane", HTML), name="new <name>")
    async with uaa(portal) as visitor:
        got = await visitor.get("/audit?actor=jane")
        assert b"<script>alert" not in got.body
        assert re.search(r"name: <del>one</del> → new <name>", text(got))
        assert HTML in text(got)
        assert "No entry is like that" in text(await visitor.get("/audit?actor=nobody"))
        assert "No entry is like that" in text(await visitor.get("/audit?until=2020-01-01T00:00"))
        assert one.id in text(await visitor.get(f"/audit?kind=endpoint&object={one.id}"))
        assert (await visitor.get("/audit?since=soon")).status == 422
        assert (await visitor.get("/audit?organisation=SCE1+Inc")).status == 403


async def test_the_audit_is_of_ones_own_organisation_unless_one_is_an_operator(portal: Portal) -> None:
    portal.participant("SCE1")
    theirs = endpoint(portal, "SCE1", name="theirs")
    async with uaa(portal) as visitor:
        assert theirs.id not in text(await visitor.get("/audit"))
    async with logged_in(portal, Role.OPERATOR) as visitor:
        assert theirs.id in text(await visitor.get("/audit"))
        assert theirs.id in text(await visitor.get("/audit?organisation=SCE1+Inc"))
    async with logged_in(portal, Role.PARTICIPANT, participant="PGAE") as visitor:
        page = await visitor.get("/audit")
        assert page.status == 403
        assert b'href="/audit"' not in page.body


async def test_the_audit_comes_by_pages(portal: Portal) -> None:
    with portal.services.database.transaction() as sql:
        for number in range(60):
            audit.append(sql, ACT, f"counted {number:03}", Subject("batch", str(number), "PGAE Inc"))
    async with uaa(portal) as visitor:
        first = text(await visitor.get("/audit?kind=batch"))
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = text(await visitor.get(f"/audit{following}"))
        assert (first.count("counted "), second.count("counted ")) == (50, 10)
