"""Who may do what over the API: every operation, by everybody; and nobody learns a byte of another's."""

from collections.abc import AsyncIterator
from html import unescape
from typing import Final
from urllib.parse import unquote

import pytest
import pytest_asyncio

from claimbus.broker import journal
from claimbus.database import endpoints
from claimbus.database.access import Role
from tests.portal.operations import NOBODY as NONE
from tests.portal.operations import READS, WRITES, Call, operations
from tests.portal.people import (
    ALL_OF,
    EVERYBODY,
    KEEPERS,
    LOOKERS,
    OPERATORS,
    OTHERS_TOO,
    STRANGERS,
    UNKNOWN,
    Person,
)
from tests.portal.portals import Got
from tests.portal.scene import MARK, Scene, open_scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN: Final = {
    frozenset(EVERYBODY): ("GET /healthz", "GET /readyz", "GET /asyncapi.json"),
    OTHERS_TOO: ("GET /v1/participants", "GET /v1/event-types"),
    KEEPERS | {"other uaa"}: ("GET /v1/replays", "GET /v1/credentials"),
    LOOKERS: (
        "GET /v1/claims/{claim_id}",
        "HEAD /v1/claims/{claim_id}",
        "GET /v1/participants/{participant_id}",
        "GET /v1/endpoints",
        "GET /v1/endpoints/health",
        "GET /v1/endpoints/{endpoint_id}",
        "GET /v1/endpoints/{endpoint_id}/health",
        "GET /v1/deliveries",
        "GET /v1/deliveries.csv",
        "GET /v1/deliveries/{endpoint_id}/{message_id}",
        "GET /v1/recoveries",
        "GET /v1/recoveries/{recovery_id}",
        "GET /v1/deadletters",
        "GET /v1/deadletters/groups",
        "GET /v1/deadletters/{letter_id}",
    ),
    KEEPERS: (
        "POST /v1/endpoints",
        "PATCH /v1/endpoints/{endpoint_id}",
        "DELETE /v1/endpoints/{endpoint_id}",
        "POST /v1/endpoints/{endpoint_id}/subscriptions",
        "POST /v1/endpoints/{endpoint_id}/verify",
        "POST /v1/endpoints/{endpoint_id}/test",
        "POST /v1/endpoints/{endpoint_id}/pause",
        "POST /v1/endpoints/{endpoint_id}/resume",
        "POST /v1/endpoints/{endpoint_id}/disable",
        "POST /v1/endpoints/{endpoint_id}/enable",
        "POST /v1/endpoints/{endpoint_id}/rotate-secret",
        "POST /v1/deliveries/{endpoint_id}/{message_id}/resend",
        "POST /v1/recoveries",
        "POST /v1/recoveries/{recovery_id}/stop",
        "POST /v1/deadletters/preflight",
        "POST /v1/deadletters/replay",
        "GET /v1/replays/{replay_id}",  # of theirs, by who has the name of who made it
        "GET /v1/replays/{replay_id}/items",
        "POST /v1/replays/{replay_id}/pause",
        "POST /v1/replays/{replay_id}/resume",
        "POST /v1/replays/{replay_id}/cancel",
    ),
    KEEPERS | {"admin"}: ("GET /v1/audit",),
    ALL_OF: (
        "POST /v1/participants/{participant_id}/contacts",
        "DELETE /v1/participants/{participant_id}/contacts",
    ),
    OPERATORS: (
        "GET /metrics",
        "GET /v1/overview",
        "POST /v1/participants",
        "PUT /v1/participants/{participant_id}/event-types",
        "PUT /v1/participants/{participant_id}/entitlements/{resource_id}",
        "GET /v1/deadletters/{letter_id}/body",  # its event is for some only
        "POST /v1/deadletters/discard",
        "POST /v1/deadletters/restore",
        "PUT /v1/event-types/{name}/dates",
        "GET /v1/journal",
        "POST /v1/notices/preview",
        "POST /v1/notices",
        "GET /v1/parked-events",
        "POST /v1/parked-events/release",
    ),
    frozenset({"publisher"}): ("POST /v1/events",),
}
"""To whom what is open, when it is asked for the things of one participant; to nobody else."""

WHO: Final = {operation: who for who, several in OPEN.items() for operation in several}
LISTS: Final = (
    "endpoints",
    "deliveries",
    "deliveries.csv",
    "deadletters",
    "deadletters/groups",
    "recoveries",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One scene for all of them."""
    async with open_scene(tmp_path_factory.mktemp("api"), shared_amqp_url) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test things of its own, and let a recovery not wait for more at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)
    await scene.renew()


async def test_every_operation_has_a_call_and_says_to_whom_it_is_open(scene: Scene) -> None:
    described = operations((await scene.portal.get("/openapi.json")).json)
    assert {one.operation for one in (*READS, *WRITES)} == described
    assert WHO.keys() == described


@pytest.mark.parametrize("name", EVERYBODY)
async def test_what_is_open_is_exactly_what_the_table_says(scene: Scene, name: str) -> None:
    person, marked, secret = Person.of(scene.portal, name), 0, secrets(scene)
    wrong = []
    for call in (*READS, *WRITES):
        if call.first is not None:
            await call.first.make(scene)
        got = await asked(scene, call, person)
        marked += bool(seen(got))
        if name in WHO[call.operation]:
            as_it_should_be = got.status < 300
            if call.method not in {"GET", "HEAD"}:
                secret |= secrets(scene)
                await scene.renew()
        else:
            as_it_should_be = got.status == (401 if name in UNKNOWN else 403)
        if not as_it_should_be or (name in STRANGERS and seen(got)):
            wrong.append((call.operation, got.status, seen(got), got.body[:300]))
        leaked = {one for one in secret if one.encode() in got.body}
        assert not leaked or call.operation == "POST /v1/endpoints/{endpoint_id}/rotate-secret"
    assert wrong == []
    assert (marked > 10) == (name in LOOKERS), "the marks are where they were planted"


@pytest.mark.parametrize("name", STRANGERS)
async def test_lists_hold_nothing_of_another_organisation(scene: Scene, name: str) -> None:
    person = Person.of(scene.portal, name)
    for one in (*LISTS, *(("audit",) if name == "other uaa" else ())):
        got = await asked(scene, Call(f"GET /v1/{one}"), person)
        assert (got.status, seen(got)) == (200, False), (one, got.body)


@pytest.mark.parametrize("name", STRANGERS)
async def test_what_is_another_s_and_what_does_not_exist_are_alike(scene: Scene, name: str) -> None:
    person, asked_for = Person.of(scene.portal, name), 0
    known = ("participant_id", "endpoint_id", "message_id", "letter_id", "replay_id", "recovery_id")
    nothing = {one: "NONE" if one == "participant_id" else NONE for one in known}
    for call in (*READS, *WRITES):
        theirs = await asked(scene, call, person)
        none = await asked(scene, call, person, **nothing)
        if not call.operation.startswith("GET /v1/event-types"):
            assert alike(theirs) == alike(none), call.operation
        asked_for += theirs.status == 403
    assert asked_for > 40


PROBES: Final = (
    "deadletters?message_id={dead_id}",
    "deadletters?state=replaying&replay_id={replay_id}",
    "deadletters?group={group}",
    "deadletters/groups?group={group}",
    "deadletters/groups?message_id={dead_id}",
    "deliveries?message_id={message_id}",
    "deliveries?partitionkey={mark}",
    "deliveries.csv?message_id={message_id}",
    "endpoints?text={mark}",
    "endpoints?text={endpoint_id}",
    "participants?text={mark}",
    "audit?object_id={endpoint_id}",
    "audit?object_id={letter_id}",
    "audit?actor=kay&object_id={mark}@{mark}.example",
    "audit?kind=replay&object_id={replay_id}",
)


async def test_no_filter_tells_whether_another_s_thing_exists(scene: Scene) -> None:
    letter = (await scene.program.get(f"/v1/deadletters/{scene.names['letter_id']}")).json["letter"]
    scene.names |= {"dead_id": letter["message_id"], "group": letter["fingerprint"], "mark": MARK}
    operator, person = Person.of(scene.portal, "operator"), Person.of(scene.portal, "other uaa")
    nothing = dict.fromkeys(scene.names, NONE)
    for probe in PROBES:
        call = Call(f"GET /v1/{probe}")
        theirs, none = await asked(scene, call, person), await asked(scene, call, person, **nothing)
        assert theirs.status == 200
        assert alike(theirs) == alike(none), probe
        known = await asked(scene, call, operator)
        assert alike(known) != alike(await asked(scene, call, operator, **nothing)), probe
    for operation in ("preflight", "replay"):
        call = Call(
            f"POST /v1/deadletters/{operation}", {"selection": {"ids": ["{letter_id}"]}}, takes_reason=False
        )
        theirs, none = await asked(scene, call, person), await asked(scene, call, person, **nothing)
        assert alike(theirs) == alike(none)
        assert theirs.status == 422


async def test_who_is_known_is_known_by_what_counts(scene: Scene) -> None:
    """A cookie of the pages opens nothing here, nor does half a token, nor two."""
    token = scene.portal.token(Role.OPERATOR)
    for headers in (
        {"cookie": f"__Host-claimbus={token}; claimbus={token}"},
        {"authorization": f"Bearer {token[:-1]}"},
        {"authorization": f"Basic {token}"},
        {"authorization": f"Bearer {token}, Bearer {token}"},
        {"client-cert": ":AAAA:"},
    ):
        assert (await scene.portal.get("/v1/audit", headers=headers)).status == 401


async def asked(scene: Scene, call: Call, person: Person, **instead: str) -> Got:
    """What somebody is answered."""
    mine, scene.program.token = scene.program.token, None
    try:
        return await call.make(scene, token=person.token, **instead)
    finally:
        scene.program.token = mine


def alike(got: Got) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs by itself."""
    return got.status, {name: value for name, value in got.headers.items() if name != "date"}, got.body


def seen(got: Got) -> bool:
    """Tell whether anything of the organisation stands in an answer, however it is written."""
    text = "".join(f"{name}: {value}\n" for name, value in got.headers.items())
    text += got.body.decode(errors="replace")
    return any(MARK in form.lower() for form in (text, unescape(text), unquote(text)))


def secrets(scene: Scene) -> set[str]:
    """The secrets that there are now."""
    with scene.portal.services.database.snapshot() as sql:
        return {secret.value for one in endpoints.find(sql) for secret in one.secrets}
