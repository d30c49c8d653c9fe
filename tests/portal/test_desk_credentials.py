"""By what people and daemons log in, and until when."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography import x509

from claimbus.database import certificates, shown_certificates, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.shown_certificates import KEPT, Shown
from claimbus.portal import trust
from tests.portal.asking import Program, asking
from tests.portal.portals import ACT, Portal, identity, subject_of
from tests.waiting import eventually

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let portals note what was shown to them all the time."""
    monkeypatch.setattr(trust, "FRESH_EVERY", 0.05)


@pytest.fixture
async def program(portal: Portal) -> AsyncIterator[Program]:
    for name in ("PGAE", "PGX"):
        portal.participant(name, organisation="PGAE Inc")
    portal.participant("SCEC")
    async with asking(portal, portal.token(Role.UAA, organisation="PGAE Inc", name="kay")) as program:
        yield program


async def listed(program: Program, token: str | None = None) -> list[dict[str, Any]]:
    """All that somebody is told of, two at a time."""
    seen, cursor = [], ""
    while True:
        got = await program.get(f"/v1/credentials?limit=2{cursor}", token=token)
        assert got.status == 200, got.body
        seen += got.json["items"]
        if got.json["cursor"] is None:
            return seen
        cursor = f"&cursor={got.json['cursor']}"


async def test_the_end_of_a_certificate_is_told_once_it_was_shown(program: Program) -> None:
    portal, ca = program.portal, trustme.CA()
    await portal.trusted(ca)
    subject = subject_of("daemon")
    id_ = portal.known(subject, Role.PARTICIPANT, participant="PGAE")
    (before,) = [one for one in await listed(program) if one["kind"] == "certificate"]
    assert (before["id"], before["name"], before["subject"]) == (id_, "daemon", subject)
    assert (before["ends_at"], before["used_at"], before["shown"]) == (None, None, [])
    own = identity(ca, "daemon")
    assert (await portal.get("/v1/participants", identity=own)).status == 200

    async def look() -> dict[str, Any] | None:
        (found,) = [one for one in await listed(program) if one["kind"] == "certificate"]
        return found if found["shown"] else None

    after = await eventually(look)
    ends = x509.load_pem_x509_certificates(own)[0].not_valid_after_utc
    (shown,) = after["shown"]
    assert datetime.fromisoformat(after["ends_at"]) <= ends
    assert shown["ends_at"] == after["ends_at"]
    assert after["used_at"] is not None


async def test_one_is_told_of_one_s_own_only(program: Program) -> None:
    portal = program.portal
    portal.token(Role.PARTICIPANT, participant="PGAE", name="a daemon's")
    portal.token(Role.PARTICIPANT, participant="PGX", name="the other's")
    portal.token(Role.UAA, organisation="SCEC Inc", name="jo")
    portal.known(subject_of("theirs"), Role.PARTICIPANT, participant="SCEC")
    portal.token(Role.PUBLISHER, name="oms")
    assert sorted(one["name"] for one in await listed(program)) == ["a daemon's", "kay", "the other's"]
    of_one = portal.token(Role.UAA, participant="PGAE", name="lee")
    assert {one["name"] for one in await listed(program, of_one)} == {"a daemon's", "lee"}
    everybody = {one["name"] for one in await listed(program, portal.token(Role.OPERATOR, name="op"))}
    assert everybody == {"a daemon's", "the other's", "kay", "lee", "jo", "theirs", "oms", "op"}
    for refused in (portal.token(Role.ADMIN, name="x"), portal.token_of("PGAE")):
        assert (await program.get("/v1/credentials", token=refused)).status == 403


async def test_what_ends_first_comes_first_and_what_is_revoked_or_long_gone_not_at_all(
    program: Program,
) -> None:
    portal, now = program.portal, datetime.now(UTC)
    for name, days in (("soon", 2), ("later", 300), ("gone", -10), ("long gone", -50), ("revoked", 5)):
        with portal.services.database.transaction() as sql:
            grant = Grant(frozenset({Role.PARTICIPANT}), "PGAE")
            long_ago = type(ACT)("tests", at=now - 60 * DAY)
            token, _ = tokens.add(sql, name, grant, long_ago, expires_at=now + days * DAY)
            if name == "revoked":
                tokens.revoke(sql, token.id, ACT)
    portal.known(subject_of("never shown"), Role.PARTICIPANT, participant="PGAE")
    told = await listed(program)
    assert [one["name"] for one in told] == ["gone", "kay", "soon", "later", "never shown"]
    assert not any("sha256" in one or "token" in one for one in told)


def test_a_renewed_certificate_stands_beside_its_predecessor(portal: Portal) -> None:
    now, subject = datetime.now(UTC).replace(microsecond=0), subject_of("daemon")
    portal.participant("PGAE")
    id_ = portal.known(subject, Role.PARTICIPANT, participant="PGAE")
    old, new = Shown("a" * 64, subject, now + DAY, now), Shown("b" * 64, subject, now + 90 * DAY, now)
    stranger = Shown("c" * 64, "CN=stranger", now + DAY, now)
    with portal.services.database.transaction() as sql:
        shown_certificates.note(sql, [old, stranger], now)
        shown_certificates.note(sql, [new, old._replace(shown_at=now + DAY)], now)
        assert shown_certificates.find(sql, [id_]) == {id_: [new, old._replace(shown_at=now + DAY)]}
        shown_certificates.note(sql, [], old.ends_at + KEPT + DAY)
        assert shown_certificates.find(sql, [id_]) == {id_: [new]}
        certificates.revoke(sql, id_, ACT)
        shown_certificates.note(sql, [new._replace(shown_at=now + DAY)], now)
        assert shown_certificates.find(sql, [id_]) == {id_: [new]}
