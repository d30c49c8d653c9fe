"""Whose is whose: every route of the API, asked by somebody to whom it is not open."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from claimbus.cli.settings import Settings
from claimbus.database import audit, replays
from claimbus.database.access import Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from tests.portal import seeding
from tests.portal.asking import Program, asking
from tests.portal.portals import ACT, Got, Portal

APART = ("/v1/claims", "/v1/events", "/v1/endpoints/{endpoint_id}/stream")
"""What has tests of its own."""

SINCE = "2026-01-01T00:00:00Z"
WHY = {"reason": "tests"}
BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/participants": {"id": "NEWP", "organisation_id": "New Inc"},
    "PUT /v1/participants/{participant_id}/event-types": {"event_types": ["#"]},
    "PUT /v1/participants/{participant_id}/entitlements/{resource_id}": {"valid_from": SINCE},
    "POST /v1/participants/{participant_id}/contacts": {"email": "mallory@scec.example"},
    "POST /v1/endpoints": {"participant_id": "PGAE", "kind": "stream", "name": "mine"},
    "PATCH /v1/endpoints/{endpoint_id}": {"name": "mine"},
    "POST /v1/endpoints/{endpoint_id}/subscriptions": {"add": ["oms.#"]},
    "POST /v1/deadletters/preflight": {"selection": {"participant_id": "PGAE"}},
    "POST /v1/deadletters/replay": {"selection": {"participant_id": "PGAE"}},
    "POST /v1/deadletters/discard": {"selection": {"participant_id": "PGAE"}, **WHY},
    "POST /v1/deadletters/restore": {"selection": {"participant_id": "PGAE"}},
    "POST /v1/recoveries": {"endpoint_id": "{endpoint_id}", "since": SINCE},
    "PUT /v1/event-types/{name}/dates": {},
    "POST /v1/notices": {"title": "a", "text": "b"},
    "POST /v1/notices/preview": {"title": "a", "text": "b"},
    "POST /v1/parked-events/release": {},
}
QUERIES = {
    "DELETE /v1/participants/{participant_id}/contacts": "email=operations@pgae.example",
    "GET /v1/audit": "organisation_id=PGAE+Inc",
    "GET /v1/deadletters": "participant_id=PGAE",
    "GET /v1/deadletters/groups": "participant_id=PGAE",
    "GET /v1/deliveries": "endpoint_id={endpoint_id}",
    "GET /v1/deliveries.csv": "participant_id=PGAE",
    "GET /v1/endpoints": "participant_id=PGAE",
    "GET /v1/endpoints/health": "endpoint_id={endpoint_id}",
    "GET /v1/journal": f"since={SINCE}",
    "GET /v1/recoveries": "endpoint_id={endpoint_id}",
}
OPEN_TO_UAAS = {"GET /v1/participants", "GET /v1/event-types", "GET /v1/replays", "GET /v1/credentials"}
"""What names nobody else's: asked by a UAA it gives what is theirs."""


@dataclass
class Town:
    """Two organisations: PGAE, which has something of everything, and SCEC, whose UAA tries to get at it."""

    portal: Portal
    program: Program
    endpoint: Endpoint
    letter: DeadLetter
    replay_id: str
    document: dict[str, Any]

    def fill(self, text: str) -> str:
        """Put PGAE's things in."""
        names = {
            "{endpoint_id}": self.endpoint.id,
            "{participant_id}": "PGAE",
            "{message_id}": "evt_1",
            "{letter_id}": self.letter.id,
            "{replay_id}": self.replay_id,
            "{recovery_id}": "rv_unknown",
            "{resource_id}": "UNIT%201",
            "{name}": "market.dam.closed",
        }
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    def routes(self) -> Iterator[str]:
        """Every operation of the desk, as the interface describes itself."""
        for path, item in self.document["paths"].items():
            if path.startswith("/v1/") and not path.startswith(APART):
                yield from (f"{method.upper()} {path}" for method in item)

    async def ask(self, route: str, token: str, *, plainly: bool = False) -> Got:
        """Ask for PGAE's; ``plainly``: without filters."""
        method, path = route.split()
        query = "" if plainly else self.fill(QUERIES.get(route, ""))
        address = self.fill(path) + (f"?{query}" if query else "")
        document = None
        if method in {"POST", "PUT", "PATCH"}:
            document = json.loads(self.fill(json.dumps(BODIES.get(route, WHY))))
        return await self.program.ask(method, address, document, token=token)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"portal_rate": 0.0})


@pytest.fixture
async def town(portal: Portal) -> AsyncIterator[Town]:
    for name in ("PGAE", "SCEC"):
        portal.participant(name)
    endpoint = seeding.endpoint(portal, "PGAE", "theirs")
    seeding.endpoint(portal, "SCEC", "own")
    seeding.record(portal, seeding.attempt(endpoint, detail="PGAE's secret"))
    (letter,) = await seeding.cemetery(portal).bury(endpoint)
    (other,) = await seeding.cemetery(portal).bury(endpoint)
    with portal.services.database.transaction() as sql:
        job = replays.create(sql, [other.id], ACT, selection={}, rate=None, canary=False)
    described = (await portal.get("/openapi.json")).json
    async with asking(portal) as program:
        yield Town(portal, program, endpoint, letter, job.id, described)


async def test_a_uaa_gets_403_for_everything_of_another_organisation(town: Town) -> None:
    token = town.portal.token(Role.UAA, organisation="SCEC Inc", name="tests")  # PGAE's job has this actor
    asked = 0
    for route in town.routes():
        got = await town.ask(route, token)
        if route in OPEN_TO_UAAS:
            assert got.status == 200, route
        else:
            assert got.status == 403, (route, got.status, got.body[:300])
            assert got.json["detail"] == "this is not open to you"
        assert b"PGAE" not in got.body, route
        asked += 1
    assert asked > 45


async def test_what_does_not_exist_and_what_is_another_s_are_alike_to_a_uaa(town: Town) -> None:
    token = town.portal.token(Role.UAA, organisation="SCEC Inc")
    for path in (
        "/v1/endpoints/ep_none",
        "/v1/deadletters/dl_none",
        "/v1/replays/rp_none",
        "/v1/participants/NONE",
    ):
        missing = await town.portal.get(path, token=token)
        assert (missing.status, missing.json["detail"]) == (403, "this is not open to you")


async def test_lists_without_a_filter_hold_only_one_s_own(town: Town) -> None:
    token = town.portal.token(Role.UAA, organisation="SCEC Inc")
    for route in ("endpoints", "deliveries", "deadletters", "participants", "audit", "recoveries"):
        got = await town.ask(f"GET /v1/{route}", token, plainly=True)
        assert got.status == 200, (route, got.body)
        assert b"PGAE" not in got.body, route


async def test_a_participant_s_daemon_changes_nothing(town: Town) -> None:
    token = town.portal.token(Role.PARTICIPANT, participant="PGAE")
    for route in town.routes():
        if not route.startswith("GET"):
            assert (await town.ask(route, token)).status == 403, route


async def test_publishers_and_admins_see_nothing_at_the_desk(town: Town) -> None:
    for role in (Role.PUBLISHER, Role.ADMIN):
        token = town.portal.token(role, name=f"the {role}")
        for route in town.routes():
            if not (role is Role.ADMIN and route == "GET /v1/audit"):
                assert (await town.ask(route, token)).status == 403, (role, route)


async def test_nobody_without_a_credential_gets_anything(town: Town) -> None:
    for route in town.routes():
        method, path = route.split()
        got = await town.program.ask(method, town.fill(path), {})
        assert got.status == 401, route
        assert got.headers["www-authenticate"].startswith("Bearer")


async def test_an_operator_reaches_every_route(town: Town) -> None:
    token = town.portal.token(Role.OPERATOR)
    for route in town.routes():
        if route.startswith("GET"):
            got = await town.ask(route, token)
            assert got.status in {200, 404}, (route, got.status, got.body[:300])


async def test_a_uaa_of_one_participant_sees_nothing_done_to_its_organisation_s_others(
    portal: Portal,
) -> None:
    for name in ("ONE", "OTHER"):
        portal.participant(name, organisation="Both Inc")
        seeding.endpoint(portal, name, f"of {name}")
    token = portal.token(Role.UAA, participant="ONE")
    kept = (await portal.get("/v1/audit", token=token)).json["items"]
    assert {entry["kind"] for entry in kept} == {"endpoint", "participant"}
    assert "OTHER" not in json.dumps(kept)
    of_all = portal.token(Role.UAA, organisation="Both Inc")
    assert b"of OTHER" in (await portal.get("/v1/audit", token=of_all)).body


async def test_every_write_is_in_the_audit_with_its_actor_and_reason(town: Town) -> None:
    token = town.portal.token(Role.UAA, organisation="PGAE Inc", name="kay")
    path = f"/v1/endpoints/{town.endpoint.id}"
    for method, tail, body in (
        ("PATCH", "", {"name": "renamed"}),
        ("POST", "/pause", {}),
        ("POST", "/resume", {}),
        ("POST", "/disable", {}),
        ("POST", "/enable", {}),
        ("POST", "/rotate-secret", {}),
        ("POST", "/subscriptions", {"give_up": ["#"]}),
    ):
        reason = f"because of {tail or 'its name'}"
        got = await town.program.ask(method, path + tail, body | {"reason": reason}, token=token)
        assert got.status == 200, got.body
        with town.portal.services.database.snapshot() as sql:
            newest = audit.find(sql, object_id=town.endpoint.id, limit=1).rows[0]
        assert (newest.actor, newest.reason) == ("kay", reason)
    assert (await town.program.ask("DELETE", f"{path}?reason=done", token=token)).status == 204
    entry = (await town.portal.get(f"/v1/audit?object_id={town.endpoint.id}", token=token)).json["items"][0]
    assert (entry["action"], entry["actor"], entry["reason"]) == ("removed", "kay", "done")


async def test_another_site_s_page_cannot_ask_with_a_browser_s_certificate(town: Town) -> None:
    token = town.portal.token(Role.OPERATOR)
    path = f"/v1/endpoints/{town.endpoint.id}/test"
    for site in ("cross-site", "same-site"):
        got = await town.portal.ask("POST", path, token=token, headers={"sec-fetch-site": site})
        assert got.status == 403
