"""Claims over HTTP: the whole body or a part of it, to whom it is for, and to nobody else."""

import asyncio
import base64
import hashlib
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimbus.database import audit, kept
from claimbus.database.access import Role
from claimbus.database.kept import KeptClaim
from claimbus.events.event import ALL, Audience
from claimbus.portal import claims
from claimstore.chunks import CHUNK
from claimstore.claim import CheckedIn
from tests.claimstore.samples import noise
from tests.portal.portals import Got, Portal
from tests.waiting import eventually

MIB = 1 << 20
BODY = b'{"status": "OUT", "mw": 12}'


@pytest.fixture
async def token(portal: Portal) -> str:
    """PGAE's."""
    portal.participant("PGAE")
    return portal.token_of("PGAE")


async def get(portal: Portal, place: CheckedIn, token: str, **headers: str) -> Got:
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    return await portal.get(f"/v1/claims/{place.claim_id}", token=token, headers=wanted)


async def test_a_claim_is_given_to_whom_it_is_for(portal: Portal, token: str) -> None:
    place = await portal.claim(audience=frozenset({"PGAE", "SCE1"}), body=BODY)
    got = await get(portal, place, token)
    assert (got.status, got.body) == (200, BODY)
    assert got.headers["content-type"] == "application/json"
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert got.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["content-length"] == str(len(BODY))
    assert "SCE1" not in str(got)
    assert (await get(portal, place, token)).body == BODY  # reading consumes nothing


async def test_head_tells_what_get_would_give(portal: Portal, token: str) -> None:
    place = await portal.claim(body=BODY)
    got = await get(portal, place, token)
    head = await portal.ask("HEAD", f"/v1/claims/{place.claim_id}", token=token)
    assert (head.status, head.body) == (200, b"")
    same = ("content-type", "content-length", "repr-digest", "etag", "accept-ranges")
    assert [head.headers[name] for name in same] == [got.headers[name] for name in same]


async def test_what_somebody_has_already_is_not_sent_again(portal: Portal, token: str) -> None:
    place = await portal.claim(body=BODY)
    etag = (await get(portal, place, token)).headers["etag"]
    assert not etag.startswith("W/")
    for condition in (etag, f'"other", W/{etag}', "*"):
        got = await get(portal, place, token, if_none_match=condition)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
    assert (await get(portal, place, token, if_none_match='"other"')).status == 200


@pytest.mark.parametrize(
    ("asked", "status", "told", "part"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", b"0123"),
        ("bytes=4-", 206, "bytes 4-9/10", b"456789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=10-", 416, "bytes */10", None),
        ("bytes=-0", 416, "bytes */10", None),
        ("bytes=0-1,4-5", 200, None, b"0123456789"),
        ("bytes=3-1", 200, None, b"0123456789"),
        ("bytes=-", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
        ("bytes=0-" + "9" * 40, 200, None, b"0123456789"),
    ],
)
async def test_a_range_is_given(  # noqa: PLR0917
    portal: Portal, token: str, asked: str, status: int, told: str | None, part: bytes | None
) -> None:
    got = await get(portal, await portal.claim(body=b"0123456789"), token, range=asked)
    assert (got.status, got.headers.get("content-range")) == (status, told)
    if part is not None:
        assert (got.body, got.headers["content-length"]) == (part, str(len(part)))
    digest = base64.b64encode(hashlib.sha256(b"0123456789").digest()).decode()
    assert status == 416 or got.headers["repr-digest"] == f"sha-256=:{digest}:"  # of the whole, always


async def test_a_range_goes_on_only_with_the_same_body(portal: Portal, token: str) -> None:
    place = await portal.claim(body=BODY)
    etag = (await get(portal, place, token)).headers["etag"]
    assert (await get(portal, place, token, range="bytes=5-", if_range=etag)).body == BODY[5:]
    for other in ('"another"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        got = await get(portal, place, token, range="bytes=5-", if_range=other)
        assert (got.status, got.body) == (200, BODY)


async def test_a_large_body_comes_whole_and_in_ranges(portal: Portal, token: str) -> None:
    body = noise(9 * CHUNK + 17)
    place = await portal.claim(body=body)
    got = await get(portal, place, token)
    assert (got.body, got.headers["content-length"]) == (body, str(len(body)))
    part = await get(portal, place, token, range=f"bytes={3 * CHUNK - 5}-{5 * CHUNK}")
    assert (part.status, part.body) == (206, body[3 * CHUNK - 5 : 5 * CHUNK + 1])


async def test_a_claim_id_alone_opens_nothing(portal: Portal, token: str) -> None:
    place = await portal.claim(body=BODY)
    missing = await portal.get(f"/v1/claims/{place.claim_id}")
    wrong = await get(portal, place, token[:-1] + ("A" if token[-1] != "A" else "B"))
    assert (missing.status, wrong.status) == (401, 401)
    assert missing.body == wrong.body
    assert missing.headers["content-type"] == "application/problem+json"
    assert BODY not in missing.body


async def test_whoever_may_not_see_a_claim_learns_nothing_of_it(portal: Portal, token: str) -> None:
    portal.participant("SCE1", "market.#")
    portal.participant("NONE", "oms.#")
    secret = await portal.claim(audience=frozenset({"SCE1"}), body=BODY)
    closed_type = await portal.claim(audience=frozenset({"NONE"}), body=BODY)
    answers = [
        await get(portal, secret, token),  # for another
        await get(portal, secret, token, if_none_match="*"),
        await get(portal, secret, token, range="bytes=0-1"),
        await get(portal, closed_type, portal.token_of("NONE")),  # for it, but its type is not open to it
        await get(portal, secret, portal.token(Role.PUBLISHER)),
        await get(portal, secret, portal.token(Role.ADMIN)),
    ]
    assert {(one.status, one.body) for one in answers} == {(403, answers[0].body)}
    assert {tuple(sorted(one.headers.keys() - {"date"})) for one in answers} == {
        tuple(sorted(answers[0].headers.keys() - {"date"}))
    }
    assert (await get(portal, secret, portal.token_of("SCE1"))).status == 200


async def test_a_uaa_sees_what_is_for_any_of_its_organisations_participants(portal: Portal) -> None:
    portal.participant("PGAE", organisation="Pacific")
    portal.participant("PGA2", organisation="Pacific")
    portal.participant("SCE1", organisation="Edison")
    uaa = portal.token(Role.UAA, organisation="Pacific")
    for name, status in (("PGAE", 200), ("PGA2", 200), ("SCE1", 403)):
        place = await portal.claim(audience=frozenset({name}))
        assert (await get(portal, place, uaa)).status == status


async def test_operators_see_everything(portal: Portal, token: str) -> None:
    place = await portal.claim(audience=frozenset({"PGAE"}), body=BODY)
    assert (await get(portal, place, portal.token(Role.OPERATOR))).body == BODY


async def test_what_never_was_is_not_found(portal: Portal, token: str) -> None:
    for claim_id in ("A" * 24, "x", "A" * 65, "a.b", "%7Bx%7D", "a%20b"):
        got = await portal.get(f"/v1/claims/{claim_id}", token=token)
        assert (got.status, got.json["detail"]) == (404, "there never was such a claim")


async def test_an_expired_claim_is_gone_for_those_to_whom_it_was_handed_out(
    portal: Portal, token: str
) -> None:
    portal.participant("SCE1")
    place = await portal.claim(audience=ALL)
    await portal.services.handed.note(place.claim_id, "PGAE", expires=place.expires)
    await delete(portal, place)
    assert (await get(portal, place, token)).status == 410
    assert (await get(portal, place, portal.token(Role.OPERATOR))).status == 410
    assert (await get(portal, place, portal.token_of("SCE1"))).status == 403


async def test_an_expired_claim_that_a_dead_letter_kept_is_gone_for_whom_it_was(
    portal: Portal, token: str
) -> None:
    portal.participant("SCE1")
    place = await portal.claim(audience=frozenset({"PGAE"}))
    await delete(portal, place)
    now = datetime.now(UTC)
    one = KeptClaim(place.claim_id, frozenset({"PGAE"}), 1, 1, 0, now, b"record")
    with portal.services.database.transaction() as sql:
        kept.record(sql, [one])
    assert (await get(portal, place, token)).status == 410
    assert (await get(portal, place, portal.token_of("SCE1"))).status == 403


async def delete(portal: Portal, place: CheckedIn) -> None:
    connection = portal.services.store.connection
    await connection.ask("DEL", f"{connection.prefix}claim:{{{place.claim_id}}}")


async def test_each_redemption_is_a_row_of_the_audit(portal: Portal, token: str) -> None:
    place = await portal.claim(body=BODY)
    await get(portal, place, token)
    await get(portal, place, token, range="bytes=0-3")
    etag = (await portal.ask("HEAD", f"/v1/claims/{place.claim_id}", token=token)).headers["etag"]
    await get(portal, place, token, if_none_match=etag)
    await get(portal, place, token, range="bytes=99-")
    await get(portal, place, portal.token(Role.PUBLISHER))

    def rows() -> list[audit.Entry]:
        with portal.services.database.snapshot() as sql:
            return list(audit.find(sql, kind="claim", object_id=place.claim_id).rows)

    found = await eventually(lambda: rows() if len(rows()) >= 2 else None)
    assert [(one.action, one.actor, one.organisation_id, one.after) for one in found] == [
        ("redeemed", "a test's", "PGAE Inc", {"bytes": 4}),
        ("redeemed", "a test's", "PGAE Inc", {"bytes": len(BODY)}),
    ]


async def test_without_redis_it_says_when_to_try_again(portal: Portal, token: str) -> None:
    await portal.services.store.connection.aclose()
    got = await portal.get("/v1/claims/abc", token=token)
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    assert got.headers["content-type"] == "application/problem+json"
    assert (await portal.get("/readyz")).json["redis"] is False


async def test_a_damaged_body_never_comes_to_its_end(portal: Portal, token: str) -> None:
    place = await portal.claim(body=noise(8 * CHUNK))
    connection = portal.services.store.connection
    await connection.ask("DEL", f"{connection.prefix}claim:{{{place.claim_id}}}:7")
    with pytest.raises(Exception, match="body"):
        await get(portal, place, token)


NAMES = ("PGAE", "SCE1", "SDGE")
OPEN = {"PGAE": "#", "SCE1": "market.#", "SDGE": "oms.resource-outage.*"}
OWNERS = {"PGAE": "North", "SCE1": "South", "SDGE": "South"}
TYPES = ("market.dam.closed", "oms.resource-outage.created", "system.notice.published")
AUDIENCES: st.SearchStrategy[Audience] = st.just(ALL) | st.frozensets(st.sampled_from(NAMES), min_size=1)


def is_open(name: str, type_: str) -> bool:
    return OPEN[name] == "#" or type_.startswith(OPEN[name].rstrip("#*"))


@pytest.fixture
async def everybody(portal: Portal) -> dict[str, set[str]]:
    """Tokens of all kinds, and for which participants each acts."""
    for name in NAMES:
        portal.participant(name, OPEN[name], organisation=OWNERS[name])
    acting = {portal.token_of(name): {name} for name in NAMES}
    for role in (Role.UAA, Role.PARTICIPANT):
        for owner in ("North", "South"):
            own = {name for name in NAMES if OWNERS[name] == owner}
            acting[portal.token(role, organisation=owner)] = own
    return acting | {portal.token(Role.PUBLISHER, Role.ADMIN): set()}


@given(audience=AUDIENCES, type_=st.sampled_from(TYPES), method=st.sampled_from(["GET", "HEAD"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_exactly_the_entitled_are_given_a_claim(
    portal: Portal, everybody: dict[str, set[str]], audience: Audience, type_: str, method: str
) -> None:
    place = await portal.claim(audience=audience, type_=type_)
    addressed = set(NAMES) if audience == ALL else audience
    for token, own in everybody.items():
        got = await portal.ask(method, f"/v1/claims/{place.claim_id}", token=token)
        assert got.status == (200 if any(is_open(name, type_) for name in own & addressed) else 403)


async def test_who_does_not_read_takes_so_many_bodies_and_nothing_from_others(
    portal: Portal, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "AT_MOST", 2)
    place, small = await portal.claim(body=noise(32 * MIB)), await portal.claim()
    path, port = f"/v1/claims/{place.claim_id}", urlsplit(portal.url).port
    tls = ssl.create_default_context(cadata=portal.ca.cert_pem.bytes().decode())
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    writers = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1024)
        writers.append(writer)
        writer.write(request)
        assert b" 200 " in await reader.readline()
    got = await get(portal, place, token)
    assert (got.status, got.json["status"], got.headers["retry-after"]) == (429, 429, "5")
    assert (await get(portal, small, token)).status == 200
    portal.participant("SCE1")  # with a token of the same name
    part = {"range": "bytes=0-99999"}
    assert (await portal.get(path, token=portal.token_of("SCE1"), headers=part)).status == 206
    uaa = portal.token(Role.OPERATOR, name="another")
    assert (await portal.get(path, token=uaa, headers={"range": "bytes=0-99999"})).status == 206
    for writer in writers:
        writer.transport.abort()

    async def has_room() -> bool:
        return (await get(portal, place, token, range="bytes=0-99999")).status == 206

    await eventually(has_room)


async def test_a_body_that_goes_piece_by_piece_comes_whole_and_in_ranges(portal: Portal, token: str) -> None:
    body = noise(3 * claims.LIGHT + 17)
    place = await portal.claim(body=body)
    got = await get(portal, place, token)
    assert (got.body, got.headers["content-length"]) == (body, str(len(body)))
    part = await get(portal, place, token, range=f"bytes=5-{2 * claims.LIGHT + 9}")
    assert (part.status, part.body) == (206, body[5 : 2 * claims.LIGHT + 10])
