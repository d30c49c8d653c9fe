"""That a receiver's certificate ends is told to the participant, and its contacts, once a threshold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from claimbus.cli.demo.receivers import Receivers
from claimbus.cli.expiry import THRESHOLDS, Dated
from claimbus.cli.expiry_watch import NAMED, OF_LATE, ExpiryWatch
from claimbus.cli.settings import Settings
from claimbus.database import audit, endpoints, participants, receiver_certificates, tidings
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.receiver_certificates import Certificate
from claimbus.events.tls import client_context
from claimbus.mail.opening import open_post
from claimbus.portal.trust import Trust
from consumers import contacts
from consumers.contacts import Contacts
from consumers.wording import Wording
from tests.cli.terminal import Terminal
from tests.mail.servers import mail_server
from tests.producers.bus import Bus

ACT = Act("tests")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with Database.open(sqlite_url) as database:
        with database.transaction() as sql:
            for name, organisation in (("PGAE", "Pacific"), ("SCE1", "Edison")):
                participants.add(sql, name, organisation, ACT)
            participants.add_contact(sql, "Pacific", "jane@pacific.example", ACT)
            participants.add_contact(sql, "Edison", "eve@edison.example", ACT)
            tidings.begin(sql, contacts.READER)
        yield database


def shows(
    database: Database,
    days: float,
    *names: str,
    participant: str = "PGAE",
    fingerprint: str = "a",
    life: float = 398,
    ago: timedelta = timedelta(0),
) -> list[Endpoint]:
    """Endpoints whose receivers show one certificate that ends in so many days."""
    now = datetime.now(UTC)
    ends = now + timedelta(days=days)
    shown = Certificate(fingerprint * 64, "CN=one", "CN=ca", ends - timedelta(days=life), ends)
    with database.transaction() as sql:
        there = [
            endpoints.add(sql, participant, ACT, name=name, url="https://a.example/", verified=True)
            for name in names
        ]
        for one in there:
            receiver_certificates.note(sql, one.id, one.url or "", shown, now - ago)
    return there


def watch(database: Database, bus: Bus, registry: CollectorRegistry | None = None) -> ExpiryWatch:
    registry = registry or CollectorRegistry()
    return ExpiryWatch(Settings(environment="test"), database, Trust(database), bus.producer, registry)


async def told(bus: Bus, count: int) -> list[tuple[object, str, str]]:
    """To whom what was told: title and text."""
    events = [(await bus.redeem(ticket)).event for ticket in await bus.hears(count)]
    bodies = [orjson.loads(event.body) for event in events]
    return [(event.audience, body["title"], body["text"]) for event, body in zip(events, bodies, strict=True)]


async def test_whose_receivers_show_it_is_told_once_and_only_they(database: Database, bus: Bus) -> None:
    shows(database, 13, "outages", "notices")
    shows(database, 13, "theirs", participant="SCE1")
    shows(database, 90, "later", fingerprint="b")
    for _ in range(2):
        await watch(database, bus).look()
    found = {audience: (title, text) for audience, title, text in await told(bus, 2)}
    title, text = found[frozenset({"PGAE"})]
    assert title == "Your receiver's certificate ends in 14 days or less"
    assert 'shows for "notices", "outages" ends on' in text
    assert 'shows for "theirs" ends on' in found[frozenset({"SCE1"})][1]
    with database.snapshot() as sql:
        assert len(audit.find(sql, kind="certificate notice").rows) == 2


async def test_a_contact_gets_one_mail_a_threshold(database: Database, bus: Bus) -> None:
    (one,) = shows(database, 13, "outages")
    async with mail_server() as server:
        post = open_post(
            f"smtp://127.0.0.1:{server.port}?tls=none", sender="bus@iso.example", tls=client_context
        )
        wording = Wording(environment="test", portal_url="", zone=ZoneInfo("UTC"))
        telling = Contacts(
            database, post, wording, name="one", registry=CollectorRegistry(), gather=timedelta(0)
        )
        for days in (13, 12, 6, 5, 0.5, 0.4, -1):
            ends = datetime.now(UTC) + timedelta(days=days)
            shown = Certificate("a" * 64, "CN=one", "CN=ca", ends - timedelta(days=398), ends)
            with database.transaction() as sql:
                receiver_certificates.note(sql, one.id, one.url or "", shown, datetime.now(UTC))
            await watch(database, bus).look()
            await telling.look()
    assert server.told == ["jane@pacific.example"] * 3
    assert [message["Subject"] for _, message in server.mails] == [
        f"[test] Your receiver's certificate ends in {days} days or less" for days in (14, 7, 1)
    ]


async def test_many_endpoints_are_not_all_named(database: Database, bus: Bus) -> None:
    shows(database, 3, *(f"e{number}" for number in range(NAMED + 2)))
    await watch(database, bus).look()
    ((_, _, text),) = await told(bus, 1)
    assert '"e4" and 2 more ends' in text


async def test_what_was_seen_long_ago_may_be_renewed_by_now(database: Database, bus: Bus) -> None:
    shows(database, 3, "stale", ago=OF_LATE + timedelta(hours=1))
    shows(database, 3, "fresh", ago=OF_LATE - timedelta(hours=1), fingerprint="b")
    await watch(database, bus).look()
    ((_, _, text),) = await told(bus, 1)
    assert "fresh" in text


async def test_the_metric_has_receivers_whose_certificates_end_soon(database: Database, bus: Bus) -> None:
    registry = CollectorRegistry()
    (soon,) = shows(database, 3, "soon")
    shows(database, 90, "later", fingerprint="b")
    await watch(database, bus, registry).look()
    (metric,) = registry.collect()
    assert {one.labels["what"]: round(one.value) for one in metric.samples} == {f"receiver {soon.id}": 3}


@given(st.floats(0.1, 40), st.floats(1, 800))
def test_nobody_is_told_of_what_machines_renew_in_time(left: float, life: float) -> None:
    """They do so with a third of its life left; and what nobody renews is told before it ends."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    one = Dated(
        what="",
        subject="",
        fingerprint="",
        until=now + timedelta(days=left),
        life=timedelta(days=life),
    )
    threshold = one.threshold(now)
    if left > life / 3:
        assert threshold is None
    if life >= 4 * max(THRESHOLDS):
        assert threshold == min((days for days in THRESHOLDS if left <= days), default=None)


async def test_a_verification_by_command_notes_the_certificate(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    async with Receivers.open(terminal.directory) as receivers:
        receiver = await receivers.add("one")
        words = ("PGAE", "--name", "one", "--url", receiver.url, "--ca-file", str(receivers.authority.ca))
        added = (await terminal.beside("endpoints", "add", *words, "--json")).json
    assert added["state"] == "active"
    with Database.open(terminal.settings["CLAIMBUS_DATABASE_URL"]) as database, database.snapshot() as sql:
        (seen,) = receiver_certificates.find(sql, endpoint_ids=[added["id"]])
    assert seen.subject == "CN=receivers"
