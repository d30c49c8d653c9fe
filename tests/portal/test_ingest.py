"""Publishing over the portal, as an ISO system in another language does."""

import asyncio
import hashlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psutil
import pytest
import trustme
from sqlalchemy import update

from claimbus.cli.settings import Settings
from claimbus.database import audit, schema, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.events.catalogue import lookup
from claimbus.events.event import identity as identity_of
from claimbus.events.routing import DOMAINS
from tests.broker.proxy import proxy_before
from tests.portal.portals import Got, Portal, identity, open_portal, subject_of
from tests.producers.bus import Bus, open_bus

DOCUMENT = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
OWN = "urn:claimbus:test:market-desk"
CLOSED = {"market": "dam", "trade_date": "2026-03-05", "occurrence": 1}
JSON = {"ce-specversion": "1.0", "ce-type": "market.dam.closed", "content-type": "application/json"}
XML = JSON | {"content-type": "application/xml"}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture
async def bus(shared_amqp_url: str, redis_url: str, key_prefix: str) -> AsyncIterator[Bus]:
    """An ear for what the portal publishes."""
    async with open_bus(shared_amqp_url, redis_url, key_prefix) as bus:
        yield bus


@pytest.fixture
def publisher(portal: Portal) -> str:
    return token_of(portal)


def token_of(portal: Portal, name: str = "Market desk", publishes: Collection[str] = DOMAINS) -> str:
    """A publisher's token of this name, for these domains."""
    act, lives = Act("tests"), timedelta(days=1)
    with portal.services.database.transaction() as sql:
        grant = Grant(frozenset({Role.PUBLISHER}), publishes=frozenset(publishes))
        return tokens.add(sql, name, grant, act, expires_at=act.at + lives)[1]


async def post(
    portal: Portal,
    token: str | None,
    headers: Mapping[str, str],
    body: object = None,
    *,
    audience: str | None = None,
    **ce: str,
) -> Got:
    """POST a body, JSON unless it is bytes already; ``ce`` are attributes as headers."""
    found = {**headers, **{f"ce-{name}": value for name, value in ce.items()}}
    if audience is not None:
        found["claimbus-audience"] = audience
    client = portal._clients.get(None) or portal._client(None)
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    request = client.post(portal.url + "/v1/events").headers(found).body_bytes(content)
    if token is not None:
        request = request.bearer_auth(token)
    response = await request.build().send()
    answer = (await response.bytes()).to_bytes()
    return Got(response.status, {name.lower(): value for name, value in response.headers.items()}, answer)


def member(event_id: str, day: int = 5, **more: object) -> dict[str, object]:
    """An event in JSON."""
    data = CLOSED | {"trade_date": f"2026-03-{day:02}"}
    found = {"specversion": "1.0", "id": event_id, "type": "market.dam.closed", "audience": "all"}
    return found | {"data": data} | more


async def test_binary_mode(portal: Portal, publisher: str, bus: Bus) -> None:
    portal.participant("PGAE")
    portal.participant("SCE1")
    answer = await post(portal, publisher, JSON, CLOSED, audience="PGAE, SCE1", id="1", subject="Z%C3%BCrich")
    message_id = identity_of(OWN, "1")
    assert (answer.status, answer.json) == (202, {"message_id": message_id, "duplicate": False})
    (ticket,) = await bus.hears(1)
    claim = await bus.redeem(ticket)
    assert ticket.message_id == message_id
    assert (claim.event.source, claim.event.subject) == (OWN, "Zürich")
    assert claim.event.audience == frozenset({"PGAE", "SCE1"})
    assert claim.event.partitionkey == "dam/2026-03-05"
    assert orjson.loads(claim.event.body) == CLOSED


async def test_structured_mode(portal: Portal, publisher: str, bus: Bus) -> None:
    answer = await post(portal, publisher, STRUCTURED, member("1", source=f"{OWN}:west"))
    assert answer.json == {"message_id": identity_of(f"{OWN}:west", "1"), "duplicate": False}
    (ticket,) = await bus.hears(1)
    assert orjson.loads((await bus.redeem(ticket)).event.body) == CLOSED


async def test_batch_mode(portal: Portal, publisher: str, bus: Bus) -> None:
    answer = await post(portal, publisher, BATCH, [member(str(day), day) for day in range(1, 21)])
    assert answer.status == 202
    results = [
        {"status": 202, "message_id": identity_of(OWN, str(day)), "duplicate": False} for day in range(1, 21)
    ]
    assert answer.json == {"results": results}
    assert {ticket.message_id for ticket in await bus.hears(20)} == {one["message_id"] for one in results}


async def test_events_of_one_key_in_a_batch_go_in_order(portal: Portal, publisher: str, bus: Bus) -> None:
    """The first of each takes longest: its body is large."""
    batch = [
        member(
            f"{key}-{number}",
            datacontenttype="text/plain",
            data="x" * (10 if number else 2 << 20),
            partitionkey=key,
            sequence=number,
        )
        for number in range(5)
        for key in ("a", "b")
    ]
    assert (await post(portal, publisher, BATCH, batch)).status == 202
    tickets = await bus.hears(10)
    for key in ("a", "b"):
        assert [ticket.sequence for ticket in tickets if ticket.partitionkey == key] == list(range(5))


async def test_a_batch_tells_of_each_event_that_is_refused(portal: Portal, publisher: str, bus: Bus) -> None:
    await post(portal, publisher, STRUCTURED, member("used", 9))
    batch = [
        member("good", 1),
        member("wrong", 2, data={"market": "dam"}),
        member("used", 3),
        member("used", 9),
        member("theirs", 4, source="urn:claimbus:test:oms"),
        member("nobody's", 5, audience="NOBODY"),
        "no event",
    ]
    answer = await post(portal, publisher, BATCH, batch)
    assert answer.status == 207
    found = [(one["status"], one.get("duplicate", one.get("field"))) for one in answer.json["results"]]
    assert found == [
        (202, False),
        (422, "body.trade_date"),
        (409, "id"),
        (202, True),
        (403, "source"),
        (422, "audience"),
        (422, "body"),
    ]
    assert len(await bus.hears(2)) == 2


async def test_a_batch_that_is_none_or_too_long_is_refused_whole(portal: Portal, publisher: str) -> None:
    assert (await post(portal, publisher, BATCH, member("1"))).status == 422
    assert (await post(portal, publisher, BATCH, [member("1")] * 1001)).status == 413
    keyed = await post(portal, publisher, BATCH | {"idempotency-key": "1"}, [member("1")])
    assert (keyed.status, keyed.json["field"]) == (422, "idempotency-key")
    assert (await post(portal, publisher, BATCH, [])).json == {"results": []}


@pytest.mark.parametrize("headers", [JSON, XML])
async def test_the_same_again_is_known_and_another_body_is_a_conflict(
    headers: dict[str, str], portal: Portal, publisher: str, bus: Bus
) -> None:
    first, again = [
        await post(portal, publisher, headers | {"idempotency-key": "1"}, CLOSED, audience="all")
        for _ in range(2)
    ]
    assert [first.status, again.status] == [202, 202]
    assert [first.json["duplicate"], again.json["duplicate"]] == [False, True]
    assert first.json["message_id"] == again.json["message_id"]
    other = await post(portal, publisher, headers, CLOSED | {"reason": "other"}, audience="all", id="1")
    assert (other.status, other.json["field"]) == (409, "id")
    assert await bus.claims() == 1
    assert len(await bus.hears(1)) == 1


async def test_a_large_body_is_streamed_and_known_again(portal: Portal, publisher: str, bus: Bus) -> None:
    body = b"<a>" + bytes(range(256)) * 20_000
    for duplicate in (False, True):
        answer = await post(portal, publisher, XML, body, audience="all", id="1")
        assert (answer.status, answer.json["duplicate"]) == (202, duplicate)
    other = await post(portal, publisher, XML, body + b"!", audience="all", id="1")
    assert other.status == 409
    (ticket,) = await bus.hears(1)
    claim = await bus.redeem(ticket)
    pieces = [piece async for piece in bus.store.body(claim)]
    assert hashlib.sha256(b"".join(pieces)).digest() == hashlib.sha256(body).digest() == claim.sha256
    keys = await bus.store.connection.ask("KEYS", f"{bus.prefix}claim:*")
    assert len(keys) == 1 + claim.chunks  # of the two that were not published nothing is left


async def test_of_a_body_that_breaks_off_nothing_is_published(
    portal: Portal, publisher: str, bus: Bus
) -> None:
    client = portal._clients.get(None) or portal._client(None)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(100_000)
        raise ConnectionResetError

    headers = XML | {"ce-id": "1", "claimbus-audience": "all"}
    request = client.post(portal.url + "/v1/events").headers(headers).bearer_auth(publisher)
    with pytest.raises(ConnectionResetError):
        await request.body_stream(pieces()).build().send()
    whole = await post(portal, publisher, XML, b"<whole/>", audience="all", id="1")
    assert whole.json == {"message_id": identity_of(OWN, "1"), "duplicate": False}
    (ticket,) = await bus.hears(1)
    assert (await bus.redeem(ticket)).event.body == b"<whole/>"


WRONG: list[tuple[dict[str, str], object, str | None, dict[str, str], str]] = [
    (JSON, CLOSED, None, {"id": "1"}, "audience"),
    (JSON, CLOSED, "NOBODY", {"id": "1"}, "audience"),
    (JSON, CLOSED, "all", {}, "id"),
    (JSON, CLOSED, "all", {"id": "1", "type": "market.dam.shut"}, "type"),
    (JSON, CLOSED, "all", {"id": "1", "specversion": "2.0"}, "specversion"),
    (JSON, CLOSED, "all", {"id": "1", "dataref": "x"}, "dataref"),
    (JSON, CLOSED | {"market": "gas"}, "all", {"id": "1"}, "body.market"),
    (JSON, b"{", "all", {"id": "1"}, "body"),
    (XML, b"<a/>", "all", {"id": "1" * 200}, "id"),
    (XML, b"<a/>", "NOBODY", {"id": "1"}, "audience"),
    (STRUCTURED, [], None, {}, "body"),
    (STRUCTURED, {"specversion": "1.0"}, None, {}, "audience"),
]


async def test_what_is_wrong_is_named(portal: Portal, publisher: str) -> None:
    for headers, body, audience, ce, field in WRONG:
        answer = await post(portal, publisher, headers, body, audience=audience, **ce)
        assert (answer.status, answer.json["field"]) == (422, field)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_what_the_bus_cannot_read_is_refused(portal: Portal, publisher: str) -> None:
    for header, value in (
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/cloudevents+avro"),
        ("content-encoding", "gzip"),
    ):
        answer = await post(portal, publisher, JSON | {header: value}, CLOSED, audience="all", id="1")
        assert (answer.status, answer.json["field"]) == (415, header)


async def test_only_publishers_publish(portal: Portal) -> None:
    portal.participant("PGAE")
    event = {"id": "1", "audience": "all"}
    assert (await post(portal, None, JSON, CLOSED, **event)).status == 401
    for token in (portal.token_of("PGAE"), portal.token(Role.OPERATOR), portal.token(Role.ADMIN)):
        assert (await post(portal, token, JSON, CLOSED, **event)).status == 403


async def test_nobody_publishes_as_somebody_else(portal: Portal, publisher: str) -> None:
    for source in ("urn:claimbus:test:oms", OWN + "s", OWN.replace("test", "production"), "urn:other"):
        answer = await post(portal, publisher, XML, b"<a/>", audience="all", id="1", source=source)
        assert (answer.status, answer.json["field"]) == (403, "source")
        assert OWN in answer.json["detail"]


async def test_nobody_publishes_what_only_the_bus_does(portal: Portal, publisher: str) -> None:
    body = {"endpoint": "ep_1", "reason": "forged"}
    answer = await post(
        portal, publisher, JSON, body, audience="all", id="1", type="system.endpoint.disabled"
    )
    assert (answer.status, answer.json["field"]) == (403, "type")


async def test_a_certificates_common_name_is_the_system(portal: Portal, bus: Bus) -> None:
    ca = trustme.CA()
    await portal.trusted(ca)
    portal.known(subject_of("OMS 2"), Role.PUBLISHER)
    client = portal._client(identity(ca, "OMS 2"))
    headers = JSON | {"ce-id": "1", "claimbus-audience": "all"}
    request = client.post(portal.url + "/v1/events").headers(headers).body_bytes(orjson.dumps(CLOSED))
    response = await request.build().send()
    assert response.status == 202
    (ticket,) = await bus.hears(1)
    assert ticket.message_id == identity_of("urn:claimbus:test:oms-2", "1")


@pytest.mark.parametrize("name", ["市場", "bus", "System", "CN=bus,O=ISO"])
async def test_a_name_without_a_source_of_its_own_publishes_nothing(portal: Portal, name: str) -> None:
    """Such a name is refused when it is added; these are from before."""
    token = token_of(portal)
    with portal.services.database.transaction() as sql:
        sql.execute(update(schema.tokens).values(name=name))
    answer = await post(portal, token, JSON, CLOSED, audience="all", id="1")
    assert answer.status == 403


async def test_a_publisher_publishes_in_its_own_domains_only(portal: Portal, bus: Bus) -> None:
    token = token_of(portal, "EMS", publishes=["oms", "market"])
    notice = dict(lookup("system.notice.published").example)
    refused = [
        await post(portal, token, JSON, notice, audience="all", id="1", type="system.notice.published"),
        await post(portal, token, XML, b"<a/>", audience="all", id="1", type="system.notice.published"),
        await post(portal, token, STRUCTURED, member("1", type="system.notice.published", data=notice)),
        await post(portal, token, XML, b"<a/>", audience="all", id="1", type="system.endpoint.held"),
    ]
    assert [(one.status, one.json["field"]) for one in refused] == [(403, "type")] * 4
    forged = member(str(notice["notice_id"]), type="system.notice.published", data=notice)
    batch = [member("1"), forged]
    results = (await post(portal, token, BATCH, batch)).json["results"]
    assert [one["status"] for one in results] == [202, 403]
    await bus.hears(1)


async def test_each_call_is_in_the_audit(portal: Portal, publisher: str) -> None:
    await post(portal, publisher, JSON, CLOSED, audience="all", id="1")
    await post(portal, publisher, XML, b"<a/>", audience="all", id="2")
    await post(portal, publisher, BATCH, [member("1"), member("3", 3), member("4", data={})])
    with portal.services.database.snapshot() as sql:
        batch, stream, one = audit.find(sql, actor="Market desk").rows
    about = {"type": "market.dam.closed", "source": OWN, "duplicate": False}
    assert (one.action, one.object_id, one.after) == (
        "published",
        identity_of(OWN, "1"),
        about | {"id": "1"},
    )
    assert (stream.kind, stream.after) == ("event", about | {"id": "2"})
    assert (batch.kind, batch.after) == ("batch", {"duplicates": 1, "published": 1, "refused": 1})


async def test_published_events_are_counted(portal: Portal, publisher: str) -> None:
    for headers, event_id in ((JSON, "1"), (JSON, "1"), (XML, "2")):
        await post(portal, publisher, headers, CLOSED, audience="all", id=event_id)
    metrics = (await portal.get("/metrics", token=portal.token(Role.OPERATOR))).body.decode()
    assert 'claimbus_ingested_total{type="market.dam.closed"} 2.0' in metrics


async def test_a_body_over_the_limit_is_refused_and_the_memory_stays_flat(
    settings: Settings, tmp_path: Path
) -> None:
    small = settings.model_copy(update={"max_body": 8 << 20})
    async with open_portal(small, tmp_path) as portal:
        publisher = token_of(portal)
        for headers in (XML, JSON, STRUCTURED, BATCH):
            answer = await post(portal, publisher, headers, bytes(9 << 20), audience="all", id="1")
            assert (answer.status, answer.json["field"]) == (413, "body")
        process = psutil.Process()
        before, most = process.memory_info().rss, 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal most
            while True:
                most = max(most, process.memory_info().rss)
                yield bytes(1 << 20)

        client = portal._clients[None]
        request = client.post(portal.url + "/v1/events").bearer_auth(publisher)
        request = request.headers(XML | {"ce-id": "1", "claimbus-audience": "all"})
        response = await request.body_stream(endless()).build().send()
        assert response.status == 413
        assert most - before < 16 << 20


async def test_while_a_service_is_away_the_answer_says_so_and_later_the_same_is_published(
    settings: Settings, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        before_redis = await stack.enter_async_context(proxy_before(settings.redis_url))
        before_rabbitmq = await stack.enter_async_context(proxy_before(settings.amqp_url))
        urls = {
            "redis_url": before_redis.url,
            "amqp_url": before_rabbitmq.url,
            "confirm_timeout": timedelta(seconds=1),
        }
        portal = await stack.enter_async_context(open_portal(settings.model_copy(update=urls), tmp_path))
        publisher = token_of(portal)

        async def attempt() -> list[Got]:
            return [
                await post(portal, publisher, JSON, CLOSED, audience="all", id="1"),
                await post(portal, publisher, XML, b"<a/>", audience="all", id="2"),
                await post(portal, publisher, BATCH, [member("3", 3), member("4", 4)]),
            ]

        assert (await post(portal, publisher, JSON, CLOSED, audience="all", id="0")).status == 202
        for proxy in (before_rabbitmq, before_redis):
            await proxy.refuse()
            for answer in await attempt():
                assert answer.status == 503
                assert answer.headers["retry-after"]
    async with open_portal(settings, tmp_path) as portal:
        found = [
            await post(portal, publisher, JSON, CLOSED, audience="all", id="1"),
            await post(portal, publisher, XML, b"<a/>", audience="all", id="2"),
        ]
        assert [(one.status, one.json["duplicate"]) for one in found] == [(202, False)] * 2


async def test_what_the_documents_say_works_as_it_stands(
    portal: Portal, publisher: str, bus: Bus, tmp_path: Path
) -> None:
    portal.participant("PGAE")
    portal.participant("SCE1")
    portal.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "results.zip").write_bytes(bytes(3 << 20))
    commands = re.findall(r"^```sh\n(curl.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    surroundings = {**os.environ, "BUS": portal.url, "TOKEN": publisher, "CA": "ca.pem"}
    for command in commands:
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", command], cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE
        )
        answer = orjson.loads(done.stdout)
        assert all(one["duplicate"] is False for one in answer.get("results", [answer]))
    tickets = await bus.hears(len(commands) + 1)
    assert (await bus.redeem(tickets[1])).event.audience == frozenset({"PGAE", "SCE1"})
    age = datetime.now(UTC) - (await bus.redeem(tickets[0])).event.time
    assert timedelta(0) <= age < timedelta(minutes=1)
    documented = re.search(r'"message_id": "(evt_[^"]*)"', DOCUMENT)
    assert documented is not None
    in_production = identity_of("urn:claimbus:production:market-desk", "dam-closed-2026-03-05")
    assert documented[1] == in_production
