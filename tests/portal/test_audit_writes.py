"""Every write leaves its entries in the audit: who, what, which thing, why; no others, and nothing secret."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from claimbus.broker import journal
from claimbus.cli.demo.receivers import Receivers
from claimbus.database import audit, endpoints
from claimbus.database.access import Role
from claimbus.database.audit import Entry as Kept
from tests.portal.operations import NOBODY, WRITES, Call, operations
from tests.portal.portals import Got
from tests.portal.scene import BODY, MARK, OPERATOR, OTHERS, OWNER, WHY, Scene, open_scene
from tests.portal.seeding import logged_in
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

BY_OPERATION = {one.operation: one for one in WRITES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One scene for all of them, with a receiver that agrees to receive."""
    directory = tmp_path_factory.mktemp("audit")
    async with Receivers.open(directory) as receivers:
        at = await receivers.add("one")
        ca_pem = at.ca_pem.decode()
        async with open_scene(directory, shared_amqp_url, url=at.url, ca_pem=ca_pem) as scene:
            yield scene


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test things of its own, and let a recovery not wait for more at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)
    await scene.renew()


async def test_every_operation_that_writes_has_a_case(scene: Scene) -> None:
    described = operations((await scene.portal.get("/openapi.json")).json)
    writing = {one for one in described if not one.startswith(("GET", "HEAD"))}
    assert {one.operation for one in WRITES} == writing


@pytest.mark.parametrize("call", WRITES, ids=lambda call: call.operation)
async def test_a_write_leaves_its_entries_and_no_others(scene: Scene, call: Call) -> None:
    before = await prepared(scene, call)
    publishing = call.operation == "POST /v1/events"
    token = scene.portal.token(Role.PUBLISHER, name=OPERATOR) if publishing else None
    began = newest(scene)
    got = await call.make(scene, token=token)
    assert got.status in {200, 201, 202, 204}, (before, got.body)
    found = await entries(scene, began, at_least=len(call.leaves))
    answer = json.loads(got.body) if got.body else None
    wanted = [
        (one.action, one.kind, scene.fill(one.thing.format_map(Answer(answer=answer)))) for one in call.leaves
    ]
    assert [(one.action, one.kind, one.object_id) for one in found] == wanted
    assert {one.actor for one in found} <= {OPERATOR}
    assert {one.reason for one in found} <= {WHY if call.takes_reason else ""}
    assert secrets(scene, found) == []


@pytest.mark.parametrize("call", WRITES, ids=lambda call: call.operation)
async def test_a_write_that_is_refused_leaves_none(scene: Scene, call: Call) -> None:
    await prepared(scene, call)
    stranger = scene.portal.token(Role.UAA, organisation=OTHERS, name=OPERATOR)
    publisher = scene.portal.token(Role.PUBLISHER, name=OPERATOR)
    began = newest(scene)
    assert (await call.make(scene, token=stranger)).status == 403
    if call.operation == "POST /v1/events":
        await refused(scene, call, token=publisher, body={"market": "none"})
    elif call.body is not None and call.takes_reason:
        await refused(scene, call, body={**call.body, "no_such_member": 1})
    if "{endpoint_id}" in call.path or "{replay_id}" in call.path or "{participant_id}" in call.path:
        nobody = {"endpoint_id": NOBODY, "replay_id": NOBODY, "participant_id": "NOBODY"}
        assert (await call.make(scene, **nobody)).status == 404
    assert await entries(scene, began) == []


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("POST /v1/participants", {"id": OWNER}),  # whose organisation would be new
        ("POST /v1/participants", {"new_organisation": False}),
        ("POST /v1/endpoints", {"name": f"{MARK} {{number}}"}),
        ("POST /v1/endpoints", {"subscriptions": ["oms..x"]}),
        ("PATCH /v1/endpoints/{endpoint_id}", {"schema_version": 999, "url": "http://clear.example/"}),
        ("POST /v1/endpoints/{endpoint_id}/subscriptions", {"give_up": ["market.#"]}),
        ("POST /v1/endpoints/{endpoint_id}/disable", {"reason": " "}),
        ("POST /v1/deadletters/discard", {"selection": {"ids": [NOBODY]}}),
        ("POST /v1/deadletters/restore", {}),  # it is not discarded
        ("POST /v1/deadletters/replay", {"selection": {"ids": [NOBODY]}}),
        ("POST /v1/recoveries", {"since": "2999-01-01T00:00:00Z"}),
        ("PUT /v1/event-types/{name}/dates", {"deprecated": "2030-01-01", "sunset": "2029-01-01"}),
        ("POST /v1/notices", {"ends": "2020-01-01T00:00:00Z"}),
        ("POST /v1/notices", {"participants": ["NOBODY"]}),
        ("POST /v1/parked-events/release", {"message_ids": [NOBODY]}),
        ("POST /v1/parked-events/release", {"to": ["NOBODY"]}),
    ],
)
async def test_what_makes_no_sense_or_is_there_already_leaves_none(
    scene: Scene, operation: str, change: dict[str, Any]
) -> None:
    call = BY_OPERATION[operation]
    began = newest(scene)
    await refused(scene, call, body={**(call.body or {}), **change})
    assert await entries(scene, began) == []


async def test_a_notice_with_an_id_of_another_one_says_that_it_did_not_go_out(scene: Scene) -> None:
    call, body = BY_OPERATION["POST /v1/notices"], {"title": "A title", "notice_id": f"n{MARK}"}
    for text, answered in (("one", 201), ("another", 409)):
        began = newest(scene)
        got = await Call(call.operation, {**body, "text": text}).make(scene)
        assert got.status == answered, got.body
    found = await entries(scene, began)
    assert [one.action for one in found] == ["published", "not confirmed"]


async def test_nothing_to_change_leaves_none(scene: Scene) -> None:
    types = (await scene.program.get(f"/v1/participants/{OWNER}")).json["participant"]["event_types"]
    began = newest(scene)
    for operation, body in (
        ("PATCH /v1/endpoints/{endpoint_id}", {}),
        ("POST /v1/endpoints/{endpoint_id}/subscriptions", {"add": ["#"]}),
        ("POST /v1/endpoints/{endpoint_id}/resume", {}),
        ("POST /v1/replays/{replay_id}/resume", {}),
        ("PUT /v1/participants/{participant_id}/event-types", {"event_types": types}),
        ("POST /v1/participants/{participant_id}/contacts", {"email": f"{MARK}@{MARK}.example"}),
    ):
        assert (await Call(operation, body).make(scene)).status in {200, 201}, operation
    assert await entries(scene, began) == []


async def test_an_endpoint_that_is_verified_at_once_leaves_both(scene: Scene) -> None:
    began = newest(scene)
    webhook = {"participant_id": OWNER, "kind": "webhook", "name": "verified {number}"}
    call = Call("POST /v1/endpoints", {**webhook, "url": scene.url, "ca_pem": scene.ca_pem})
    got = await call.make(scene)
    assert got.json["verification"]["passed"], got.body
    added = await entries(scene, began)
    assert [one.action for one in added] == ["added", "verified"]
    secret = got.json["secret"]
    assert secret.startswith("whsec_")
    assert secret not in str(added)
    nowhere = Call("POST /v1/endpoints/{endpoint_id}/verify", {})
    with scene.portal.services.database.transaction() as sql:
        endpoints.change(sql, got.json["endpoint"]["id"], audit.Act("tests"), url="https://nowhere.invalid/")
    began = newest(scene)
    got = await nowhere.make(scene, endpoint_id=got.json["endpoint"]["id"])
    assert (got.status, got.json["verification"]["passed"]) == (200, False)
    assert await entries(scene, began) == []


async def test_the_ending_of_what_somebody_owns_says_what_it_was(scene: Scene) -> None:
    call = BY_OPERATION["PUT /v1/participants/{participant_id}/entitlements/{resource_id}"]
    await call.make(scene)
    began = newest(scene)
    body = {**(call.body or {}), "valid_to": "2040-01-01T00:00:00Z"}
    assert (await Call(call.operation, body).make(scene)).status == 200
    [ended] = await entries(scene, began)
    assert ended.before is not None
    assert ended.after is not None
    assert (ended.action, ended.before["valid_to"]) == ("changed", None)
    assert ended.after["valid_to"].startswith("2040-01-01")


async def test_a_page_s_form_leaves_what_the_api_leaves(scene: Scene) -> None:
    names = scene.names
    forms: tuple[tuple[str, dict[str, str], tuple[str, str, str]], ...] = (
        ("/endpoints/{endpoint_id}/pause", {}, ("active to paused", "endpoint", names["endpoint_id"])),
        ("/letters/discard/choose", {"id": names["letter_id"]}, ("discarded", "letters", names["letter_id"])),
        ("/replays/{replay_id}/pause", {}, ("paused", "replay", names["replay_id"])),
        ("/replays/{replay_id}/cancel", {}, ("cancelled", "replay", names["replay_id"])),
        (
            "/recoveries/{recovery_id}/stop",
            {},
            ("recovery stopped", "endpoint", names["recovering_id"]),
        ),
    )
    async with logged_in(scene.portal, Role.OPERATOR, name="paul") as paul:
        for path, fields, wanted in forms:
            began = newest(scene)
            got = await paul.post(scene.fill(path), {**fields, "reason": WHY})
            assert got.status == 303, got.body
            [left] = await entries(scene, began)
            assert (left.action, left.kind, left.object_id) == wanted
            assert (left.actor, left.reason) == ("paul", WHY)
            paul.csrf, before = "another's", newest(scene)
            assert (await paul.post(scene.fill(path), {**fields, "reason": WHY})).status == 403
            assert newest(scene) == before
            await paul.get("/endpoints")


class Answer(dict[str, object]):
    """What stands in braces: the answer; a thing of the scene is put in later."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def newest(scene: Scene) -> int:
    """The number of the audit's newest entry."""
    with scene.portal.services.database.snapshot() as sql:
        return audit.find(sql, limit=1).rows[0].id


async def entries(scene: Scene, since: int, *, at_least: int = 0) -> list[Kept]:
    """What was added, the oldest first, once it is so much."""

    def look() -> list[Kept]:
        with scene.portal.services.database.snapshot() as sql:
            return [one for one in audit.find(sql, limit=20).rows if one.id > since][::-1]

    await eventually(lambda: len(look()) >= at_least)
    return look()


def secrets(scene: Scene, found: list[Kept]) -> list[str]:
    """What of the secrets there are, and of bodies, stands in entries."""
    text = json.dumps([[one.object_id, one.before, one.after, one.reason] for one in found])
    with scene.portal.services.database.snapshot() as sql:
        known = [secret.value for one in endpoints.find(sql) for secret in one.secrets]
    wanted = [*(one.removeprefix("whsec_") for one in known), "whsec_", "cbt_", BODY]
    return [one for one in wanted if one in text]


async def prepared(scene: Scene, call: Call) -> Got | None:
    """Do what must be done before."""
    return None if call.first is None else await call.first.make(scene)


async def refused(scene: Scene, call: Call, *, body: dict[str, Any], token: str | None = None) -> None:
    """Make a call with another body, which is refused."""
    takes = call.takes_reason and "reason" not in body
    other = Call(call.operation, body, takes_reason=takes, headers=call.headers)
    got = await other.make(scene, token=token)
    assert got.status in {404, 409, 422}, (got.status, got.body)
