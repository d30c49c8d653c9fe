"""The API as it describes itself: OpenAPI and AsyncAPI, rates, pages, servers that are away."""

import asyncio
import csv
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from claimbus.cli.settings import Settings
from claimbus.database.access import Role
from claimbus.events.catalogue import EVENT_TYPES
from claimbus.portal.desk.rates import Buckets
from tests.broker.proxy import Proxy
from tests.claimstore.private import PrivateRedis
from tests.portal import seeding
from tests.portal.asking import Program, asking
from tests.portal.portals import Portal, open_portal

FUZZED = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
"""
"""What fits the schema may still be refused for what it means: 422 names the field."""


@pytest.fixture
async def program(portal: Portal) -> AsyncIterator[Program]:
    async with asking(portal, portal.token(Role.OPERATOR)) as program:
        yield program


async def test_every_operation_says_how_to_authenticate_and_how_it_fails(program: Program) -> None:
    document = (await program.get("/openapi.json")).json
    assert document["components"]["securitySchemes"].keys() == {"bearer", "mutualTLS"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith("/v1/"):
                assert operation["security"] == [{"bearer": []}, {"mutualTLS": []}], path
                told = operation["responses"]["403"]["content"]["application/problem+json"]
                assert told["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert operation["description"], (method, path)
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.timeout(300)
async def test_schemathesis_finds_no_failure(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"portal_rate": 0.0})
    (tmp_path / "schemathesis.toml").write_text(FUZZED)
    async with open_portal(settings, tmp_path) as portal:
        portal.participant("PGAE")
        seeding.endpoint(portal)
        (tmp_path / "ca.pem").write_bytes(portal.ca.cert_pem.bytes())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{portal.url}/openapi.json"),
            *(
                "--tls-verify",
                str(tmp_path / "ca.pem"),
                "--phases",
                "examples,fuzzing",
                "--max-examples",
                "3",
            ),
            *("--header", f"Authorization: Bearer {portal.token(Role.UAA, participant='PGAE')}"),
            *("--generation-deterministic", "--no-color", "--no-shrink", "--request-timeout", "30"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def test_asyncapi_has_a_channel_a_type_and_its_examples_fit(program: Program) -> None:
    got = await program.ask("GET", "/asyncapi.json")
    document = got.json
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"].keys() == EVENT_TYPES.keys()
    messages = document["components"]["messages"]
    for name, channel in document["channels"].items():
        assert {one["$ref"] for one in channel["servers"]} == {"#/servers/webhook", "#/servers/stream"}
        assert len(channel["messages"]) == len(EVENT_TYPES[name].versions)
        for message in channel["messages"].values():
            told = messages[message["$ref"].rpartition("/")[2]]
            schema = told["payload"]["schema"]
            Draft7Validator.check_schema(schema)
            Draft7Validator(schema).validate(told["examples"][0]["payload"])
    first = EVENT_TYPES["oms.resource-outage.created"].versions[0]
    assert first.deprecated is not None
    told = messages["oms.resource-outage.created.v1"]
    assert told["x-deprecated"] == first.deprecated.isoformat()


async def test_who_asks_too_often_is_told_when_to_ask_again(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"portal_rate": 1.0})
    async with open_portal(settings, tmp_path) as portal, asking(portal) as program:
        one, other = portal.token(Role.OPERATOR, name="one"), portal.token(Role.OPERATOR, name="other")
        statuses = [(await program.get("/v1/audit", token=one)).status for _ in range(4)]
        assert 429 in statuses
        refused = await program.get("/v1/audit", token=one)
        assert int(refused.headers["retry-after"]) == 1
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await program.get("/v1/audit", token=other)).status == 200


def test_a_bucket_lets_through_its_rate_and_no_more() -> None:
    buckets, key = Buckets(), (None, "somebody")
    taken = sum(not buckets.take(key, 10.0, 20.0, now / 100) for now in range(1000))
    assert taken == 20 + 99  # a full bucket, and ten a second


async def test_pages_follow_each_other_without_gap_or_repetition(program: Program) -> None:
    for number in range(7):
        program.portal.participant(f"P{number}")
        seeding.endpoint(program.portal, f"P{number}", "the same name")
    for path in ("participants", "endpoints", "audit"):
        seen, cursor = [], ""
        while True:
            got = (await program.get(f"/v1/{path}?limit=3{cursor}")).json
            seen += [one["id"] for one in got["items"]]
            if got["cursor"] is None:
                break
            cursor = f"&cursor={got['cursor']}"
        assert len(seen) == len(set(seen)) >= 7, path
        everything = (await program.get(f"/v1/{path}?limit=200")).json["items"]
        assert seen == [one["id"] for one in everything], path


async def test_a_secret_is_shown_once(program: Program) -> None:
    program.portal.participant("PGAE")
    url = {"url": "https://receiver.invalid/"}
    added = await program.post(
        "/v1/endpoints", {"participant_id": "PGAE", "kind": "webhook", "name": "one", **url}
    )
    if added.status == 422:  # where a host without an address is refused at once
        at = seeding.endpoint(program.portal, **url)
    else:
        assert added.json["secret"].startswith("whsec_")
        at = seeding.endpoint(program.portal, name="two", **url)
    rotated = await program.post(f"/v1/endpoints/{at.id}/rotate-secret")
    secret = rotated.json["secret"]
    assert secret.startswith("whsec_")
    for path in (f"/v1/endpoints/{at.id}", "/v1/endpoints", "/v1/audit", "/v1/participants/PGAE"):
        assert secret not in (await program.get(path)).body.decode()


async def test_csv_holds_all_attempts_and_no_formula(program: Program) -> None:
    program.portal.participant("PGAE")
    at = seeding.endpoint(program.portal)
    evil = "=HYPERLINK('https://evil.example')"
    seeding.record(
        program.portal, *(seeding.attempt(at, detail=evil, partitionkey=evil) for _ in range(1200))
    )
    got = await program.get(f"/v1/deliveries.csv?endpoint_id={at.id}")
    rows = list(csv.DictReader(io.StringIO(got.body.decode())))
    assert len(rows) == 1200
    assert {row["detail"] for row in rows} == {row["partitionkey"] for row in rows} == {f"'{evil}"}
    assert got.headers["content-type"].startswith("text/csv")


async def test_without_redis_and_rabbitmq_what_the_database_knows_is_still_told(
    settings: Settings, tmp_path: Path
) -> None:
    redis, proxy = PrivateRedis(tmp_path), Proxy(settings.amqp_url)
    redis.start()
    redis.wait()
    await proxy.start()
    settings = settings.model_copy(update={"redis_url": redis.url, "amqp_url": proxy.url})
    try:
        async with open_portal(settings, tmp_path) as portal, asking(portal) as program:
            program.token = portal.token(Role.OPERATOR)
            portal.participant("PGAE")
            at = seeding.endpoint(portal)
            seeding.record(portal, seeding.attempt(at))
            (letter,) = await seeding.cemetery(portal).bury(at)
            await proxy.refuse()
            redis.kill()
            for path in (
                "overview",
                "participants/PGAE",
                f"endpoints/{at.id}/health",
                "deliveries",
                f"deliveries/{at.id}/evt_1",
                "deadletters/groups",
                f"deadletters/{letter.id}",
                "replays",
                "event-types",
                "audit",
            ):
                assert (await program.get(f"/v1/{path}")).status == 200, path
            assert (await program.post(f"/v1/endpoints/{at.id}/pause")).json["late"]
            assert (await program.post(f"/v1/endpoints/{at.id}/resume")).json["late"]
            for method, path, document in (
                ("POST", f"endpoints/{at.id}/test", {}),
                ("GET", "journal?since=2026-01-01T00:00:00Z", None),
                ("POST", "recoveries", {"endpoint_id": at.id, "since": "2026-01-01T00:00:00Z"}),
                ("POST", "notices", {"title": "a", "text": "b"}),
                ("POST", f"deliveries/{at.id}/evt_1/resend", {}),
            ):
                got = await program.ask(method, f"/v1/{path}", document)
                assert (got.status, got.headers.get("retry-after")) == (503, "5"), (path, got.body)
            redis.start()
            redis.wait()
    finally:
        redis.kill()
        await proxy.refuse()


async def test_certificates_that_are_no_text_of_certificates_name_the_field(program: Program) -> None:
    program.portal.participant("PGAE")
    new = {"participant_id": "PGAE", "kind": "stream", "name": "one", "ca_pem": "ß no PEM"}
    got = await program.post("/v1/endpoints", new)
    assert (got.status, got.json["field"]) == (422, "ca_pem")
