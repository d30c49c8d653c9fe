"""Certificates that are about to end: what the doctor says, what is measured, who is told, and how often."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from claimbus.cli.expiry import THRESHOLDS, Dated, dated, of_clients
from claimbus.cli.expiry_watch import Concern, ExpiryWatch, notices
from claimbus.cli.settings import Settings
from claimbus.database import audit, authorities, certificates, participants
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.portal.trust import Trust
from producers.producer import Producer
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus

ACT = Act("tests")
SYSTEM = "urn:claimbus:test:system"


def days(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=count)


def ending(ca: trustme.CA, count: float, name: str = "client") -> trustme.LeafCert:
    """A certificate that ends in so many days."""
    return ca.issue_cert(
        f"{name}@clients.example", common_name=name, organization_unit_name="tests", not_after=days(count)
    )


def der(leaf: trustme.LeafCert) -> bytes:
    pem = leaf.cert_chain_pems[0].bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def subject(leaf: trustme.LeafCert) -> str:
    return x509.load_der_x509_certificate(der(leaf)).subject.rfc4514_string()


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with Database.open(sqlite_url) as database:
        with database.transaction() as sql:
            participants.add(sql, "PGAE", "Pacific", ACT)
            participants.add(sql, "SCE1", "Edison", ACT)
            participants.add(sql, "SCE2", "Edison", ACT)
            participants.add(sql, "TOKENS", "No certificates", ACT)
        yield database


def known(
    database: Database, name: str, *, participant_id: str | None = None, organisation_id: str | None = None
) -> None:
    grant = Grant(frozenset({Role.PARTICIPANT}), participant_id, organisation_id)
    with database.transaction() as sql:
        certificates.add(sql, name, grant, ACT)


async def come(database: Database, *clients: trustme.LeafCert) -> Trust:
    """What a portal knows when these clients have come."""
    trust = Trust(database)
    await trust.refresh()
    for client in clients:
        trust.verified([der(client)])
    return trust


def watch(
    database: Database, trust: Trust, producer: Producer, registry: CollectorRegistry, **settings: Path
) -> ExpiryWatch:
    found = Settings(environment="test", **settings)  # type: ignore[arg-type]  # pydantic checks them
    return ExpiryWatch(found, database, trust, producer, registry)


@given(st.floats(-400, 400))
def test_a_certificate_is_under_the_nearest_threshold(left: float) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    one = Dated(what="", subject="", fingerprint="", until=now + timedelta(days=left))
    exact = one.days_left(now)
    under = [days for days in THRESHOLDS if 0 < exact <= days]
    assert one.threshold(now) == (min(under) if under else None)


def test_of_a_renewed_certificate_the_newer_one_counts() -> None:
    ca = trustme.CA()
    old, new, other = ending(ca, 3), ending(ca, 300), ending(ca, 5, "other")
    seen = {der(one): days(1000) for one in (new, old, other)}
    assert subject(old) == subject(new)
    left = sorted(round(one.days_left(datetime.now(UTC))) for one in of_clients(seen))
    assert left == [5, 300]


async def test_each_participant_is_told_once_a_threshold(database: Database, bus: Bus) -> None:
    ca = trustme.CA()
    one = dated(x509.load_der_x509_certificate(der(ending(ca, 29))), "client")
    concerns = [Concern(one, frozenset({"PGAE"}), is_authority=False)]
    told = [
        await notices(concerns, bus.producer, database, source=SYSTEM, now=one.until - timedelta(days=left))
        for left in (31, 30, 29, 20, 14, 13.9, 8, 7, 6, 1, 0.5, 0, -1)
    ]
    assert told == [0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0]
    tickets = await bus.hears(4)
    events = [(await bus.redeem(ticket)).event for ticket in tickets]
    assert {event.audience for event in events} == {frozenset({"PGAE"})}
    bodies = [orjson.loads(event.body) for event in events]
    assert {body["kind"] for body in bodies} == {"certificate"}
    assert [body["notice_id"].rpartition("-")[2] for body in bodies] == ["30", "14", "7", "1"]
    with database.snapshot() as sql:
        rows = audit.find(sql, kind="certificate notice").rows
    assert len(rows) == 4
    assert rows[0].after == {
        "certificate": one.subject,
        "participants": ["PGAE"],
        "title": bodies[-1]["title"],
        "text": bodies[-1]["text"],
    }


async def test_what_two_portals_tell_at_once_is_one_notice(
    database: Database, bus: Bus, tmp_path: Path
) -> None:
    """The second does not see the audit of the first, as if both looked at the same moment."""
    one = dated(x509.load_der_x509_certificate(der(ending(trustme.CA(), 29))), "client")
    concerns = [Concern(one, frozenset({"PGAE"}), is_authority=False)]
    with Database.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        told = [
            await notices(concerns, bus.producer, each, source=SYSTEM, now=days(0))
            for each in (database, other)
        ]
    assert told == [1, 0]
    assert len(await bus.hears(1)) == 1


async def test_who_is_told_is_whom_it_concerns(database: Database, bus: Bus) -> None:
    ca = trustme.CA()
    pacific, edison = ending(ca, 13, "pacific"), ending(ca, 6, "edison")
    stranger, later = ending(ca, 6, "stranger"), ending(ca, 90, "later")
    known(database, subject(pacific), participant_id="PGAE")
    known(database, subject(edison), organisation_id="Edison")
    with database.transaction() as sql:
        soon = authorities.put(sql, ca.cert_pem.bytes(), ACT, counts_to=days(20))
        authorities.put(sql, trustme.CA().cert_pem.bytes(), ACT)
    registry = CollectorRegistry()
    trust = await come(database, pacific, edison, stranger, later)
    looking = watch(database, trust, bus.producer, registry)
    await looking.look()
    await looking.look()
    events = [(await bus.redeem(ticket)).event for ticket in await bus.hears(3)]
    found = {event.audience: orjson.loads(event.body)["title"] for event in events}
    assert found == {
        frozenset({"PGAE"}): "Your client certificate ends in 14 days or less",
        frozenset({"SCE1", "SCE2"}): "Your client certificate ends in 7 days or less",
        frozenset({"PGAE", "SCE1", "SCE2"}): "A certificate authority ends in 30 days or less",
    }
    left = registry.get_sample_value("claimbus_certificate_days_left", {"what": f"authority {soon.id}"})
    assert left is not None
    assert 19.9 < left < 20


async def test_the_metric_has_our_own_certificates_and_clients_that_end_soon(
    database: Database, bus: Bus, tmp_path: Path
) -> None:
    ca, registry = trustme.CA(), CollectorRegistry()
    leaf = ending(ca, 12, "own")
    file = tmp_path / "own.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(file)
    with database.transaction() as sql:
        authority = authorities.put(sql, ca.cert_pem.bytes(), ACT, counts_to=days(500)).id
    soon, later = ending(ca, 3, "soon"), ending(ca, 300, "later")
    trust = await come(database, soon, later)
    own = {"portal_certificate_file": file, "webhook_certificate_file": file}
    looking = watch(database, trust, bus.producer, registry, **own)
    await looking.look()

    def left() -> dict[str, int]:
        (metric,) = registry.collect()
        return {sample.labels["what"]: round(sample.value) for sample in metric.samples}

    ours = {"portal": 12, "webhooks": 12, f"authority {authority}": 500}
    assert left() == ours | {f"client {subject(soon)}": 3}
    ending(ca, 200, "own").private_key_and_cert_chain_pem.write_to_path(file)
    await looking.look()
    assert left()["portal"] == 200
    file.unlink()
    await looking.look()
    assert "portal" not in left()


def test_the_doctor_tells_how_long_each_certificate_lasts(terminal: Terminal, tmp_path: Path) -> None:
    ca, files = trustme.CA(), {}
    for name, count in (("portal", 90), ("webhook", 20), ("tls", 6)):
        files[f"{name}_certificate_file"] = str(tmp_path / f"{name}.pem")
        ending(ca, count, name).private_key_and_cert_chain_pem.write_to_path(
            files[f"{name}_certificate_file"]
        )
    with Database.open(terminal.settings["CLAIMBUS_DATABASE_URL"]) as database, database.transaction() as sql:
        ends = authorities.put(sql, ca.cert_pem.bytes(), ACT, counts_to=days(10)).id
        over = authorities.put(sql, trustme.CA().cert_pem.bytes(), ACT, counts_from=days(-9)).id
        authorities.end(sql, over, ACT, at=days(-1))
    seen = {
        one["subject"].removeprefix("certificate: "): one
        for one in terminal.but(**files)("doctor", "--json", code=1).json
    }
    assert {name: seen[name]["severity"] for name in ("portal", "webhooks", "RabbitMQ and Redis")} == {
        "portal": "ok",
        "webhooks": "warning",
        "RabbitMQ and Redis": "error",
    }
    assert "in 20.0 days: renew it" in seen["webhooks"]["message"]
    assert seen[f"authority {ends}"]["severity"] == "warning"
    assert f"authority {over}" not in seen


def test_a_certificate_file_that_cannot_be_read_is_told_as_such(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("none.pem", "empty.pem"):
        listed = terminal.but(portal_certificate_file=str(tmp_path / name))("doctor", "--json", code=1).json
        (found,) = [one for one in listed if one["subject"] == "certificates"]
        assert found["severity"] == "error"
        assert "CLAIMBUS_PORTAL_CERTIFICATE_FILE" in found["message"]
