"""What of a participant is whose to see."""

import re

import pytest

from claimbus.database import access, audit, participants
from claimbus.database.access import Principal, Role
from claimbus.portal.desk import participants as desk
from claimbus.portal.problems import ForbiddenError
from tests.portal.asking import asking
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import logged_in, text


def uaa_of(portal: Portal, *, participant: str | None = None, organisation: str | None = None) -> Principal:
    token = portal.token(Role.UAA, participant=participant, organisation=organisation)
    with portal.services.database.snapshot() as sql:
        found = access.by_token(sql, token, ACT.at)
    assert found is not None
    return found


async def test_contacts_are_for_who_acts_for_the_whole_organisation(portal: Portal) -> None:
    for name in ("PCG1", "PCG2"):
        portal.participant(name, organisation="Pacific")
    with portal.services.database.transaction() as sql:
        participants.add_contact(sql, "Pacific", "jane@pacific.example", ACT)
    of_one, of_all = uaa_of(portal, participant="PCG1"), uaa_of(portal, organisation="Pacific")
    assert (await desk.get(portal.services, of_one, "PCG1")).contacts == ()
    with pytest.raises(ForbiddenError):
        await desk.add_contact(portal.services, of_one, "PCG1", "mallory@pacific.example")
    assert (await desk.get(portal.services, of_all, "PCG1")).contacts == ("jane@pacific.example",)
    added = await desk.add_contact(portal.services, of_all, "PCG1", "joe@pacific.example")
    assert set(added) == {"jane@pacific.example", "joe@pacific.example"}


async def test_a_contact_is_told_until_somebody_of_the_organisation_removes_it(portal: Portal) -> None:
    for name in ("ONE", "OTHER"):
        portal.participant(name, organisation="Both Inc")
    token = portal.token(Role.UAA, organisation="Both Inc", name="kay")
    path = "/v1/participants/ONE/contacts"
    async with asking(portal, token) as program:
        for email in ("a@both.example", "b@both.example"):
            got = await program.post(path, {"email": email})
        assert got.json == {"contacts": ["a@both.example", "b@both.example"]}
        of_one = portal.token(Role.UAA, participant="ONE")
        refused = await program.ask("DELETE", f"{path}?email=a@both.example", token=of_one)
        assert refused.status == 403
        got = await program.ask("DELETE", f"{path}?email=a@both.example&reason=left")
        assert (got.status, got.json) == (200, {"contacts": ["b@both.example"]})
        again = await program.ask("DELETE", f"{path}?email=a@both.example", token=portal.token(Role.OPERATOR))
        assert (again.status, again.json["field"]) == (404, "contact")
    with portal.services.database.snapshot() as sql:
        (entry,) = audit.find(sql, kind="contact", object_id="a@both.example", limit=1).rows
    assert (entry.action, entry.actor, entry.reason) == ("removed", "kay", "left")


async def test_an_organisation_that_nobody_knows_is_added_only_if_it_is_said_to_be_new(
    portal: Portal,
) -> None:
    portal.participant("PGAE")
    with portal.services.database.transaction() as sql:
        participants.add_organisation(sql, "Empty Inc", ACT)
    async with asking(portal, portal.token(Role.OPERATOR)) as program:
        for id_, organisation, is_new, status in (
            ("PCG2", "PGAE Inc", False, 201),
            ("PCG3", "PGAE Inc", True, 201),
            ("EMPT", "Empty Inc", False, 201),
            ("SCEC", "Edisen", False, 422),
            ("SCEC", "Edison", True, 201),
            ("SCE2", "Edison", False, 201),
        ):
            document = {"id": id_, "organisation_id": organisation, "new_organisation": is_new}
            got = await program.post("/v1/participants", document)
            assert got.status == status, got.body
            assert status == 201 or got.json["field"] == "organisation"
    with portal.services.database.snapshot() as sql:
        assert participants.find_organisations(sql) == ("Edison", "Empty Inc", "PGAE Inc")
    async with logged_in(portal) as visitor:
        form = text(await visitor.get("/participants/new"))
        assert re.findall(r'<option value="([^"]+)">', form) == ["Edison", "Empty Inc", "PGAE Inc"]


async def test_what_is_owned_within_that_time_already_is_refused_to_programs_too(portal: Portal) -> None:
    portal.participant("PGAE")
    path = "/v1/participants/PGAE/entitlements/GEYSER_1"
    async with asking(portal, portal.token(Role.OPERATOR)) as program:
        for begins, ends, status in (
            ("2026-01-01T00:00:00Z", None, 200),
            ("2026-02-01T00:00:00Z", None, 422),
            ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", 200),
            ("2026-02-01T00:00:00Z", None, 200),
            ("2026-01-01T00:00:00Z", None, 422),
        ):
            got = await program.ask("PUT", path, {"valid_from": begins, "valid_to": ends})
            assert got.status == status, got.body
            assert status == 200 or "resource_id" in got.body.decode()
