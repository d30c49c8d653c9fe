"""Looking at a letter and its body: legible, harmless, confidential where it must be, and noted."""

import json
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimbus.database import audit, letters
from claimbus.database.access import Principal, Role
from claimbus.database.attempts import Attempt
from claimbus.database.errors import NotFoundError
from claimbus.database.letters import DeadLetter
from claimbus.database.participants import Participant
from claimbus.deadletters import show
from claimbus.deadletters.bodies import Body
from claimbus.deadletters.errors import BodyGoneError, NotPermittedError
from claimbus.deadletters.legible import HEX_BYTES, TEXT_BYTES, harmless, legible
from claimbus.events.event import Event
from tests.deadletters.stage import ACT, REJECTED, Cemetery, attempt, event, open_cemetery

KEPT = timedelta(days=30)
MOMENT = 1_700_000_000_000
CHUNKED = b"<a>" + bytes(3 << 20) + b"</a>"


def person(*participants: str, roles: Collection[Role] = (Role.UAA,), open_: str = "#") -> Principal:
    """Somebody with these roles and participants, to whom such event types are open."""
    own = tuple(
        Participant(id=one, organisation_id="Pacific", event_types=(open_,), created_at=ACT.at)
        for one in participants
    )
    return Principal(name="jane", roles=frozenset(roles), organisation_id="Pacific", participants=own)


OPERATOR = person(roles=[Role.OPERATOR])
UAA = person("AAA1")


@pytest.fixture
async def cemetery(redis_url: str, key_prefix: str, sqlite_url: str) -> AsyncIterator[Cemetery]:
    async with open_cemetery(redis_url, key_prefix, sqlite_url) as cemetery:
        cemetery.participant("AAA1")
        yield cemetery


async def bury(cemetery: Cemetery, one: Event) -> DeadLetter:
    (letter,) = await cemetery.bury(cemetery.endpoint("AAA1"), one)
    return letter


async def look(cemetery: Cemetery, letter_id: str, who: Principal = OPERATOR) -> show.Shown:
    return await show.look(cemetery.database, cemetery.store, letter_id, who, letters_kept=KEPT)


async def body(cemetery: Cemetery, letter_id: str, who: Principal = OPERATOR) -> Body:
    return await show.body(cemetery.database, cemetery.store, letter_id, who)


def rejected(letter: DeadLetter) -> Attempt:
    """An attempt whose answer would clear a terminal."""
    return attempt(letter, None, **REJECTED)._replace(started_ms=MOMENT, answer_head=b"no \x1b[2Jsuch thing")


def noted(cemetery: Cemetery) -> list[str]:
    """What was looked at, as the audit has it."""
    with cemetery.database.snapshot() as sql:
        entries = audit.find(sql, kind="letters").rows
    return [str((one.after or {}).get("what")) for one in reversed(entries) if one.action == "looked"]


async def test_a_letter_is_shown_with_its_event_and_its_attempts(cemetery: Cemetery) -> None:
    one = event("AAA1", body=b'{"b":1,"a":[]}')
    letter = await bury(cemetery, one)
    first, second = rejected(letter), rejected(letter)._replace(started_ms=MOMENT + 1)
    another = rejected(letter)._replace(endpoint_id="ep_another")
    await cemetery.tell(second, first, another)
    shown = await look(cemetery, letter.id[:12])
    assert shown.letter.id == letter.id
    assert shown.attempts == (first, second)
    assert show.answer(shown.attempts[0]) == "no \\x1b[2Jsuch thing"
    assert shown.attributes == one.attributes()
    assert shown.body == (14, ("json", '{\n  "b": 1,\n  "a": []\n}', ""), "")


async def test_a_letter_is_shown_as_json(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1", body=b"{}"))
    await cemetery.tell(rejected(letter))
    told = json.loads(json.dumps((await look(cemetery, letter.id)).as_json()))
    assert told["letter"]["id"] == letter.id
    assert (told["attempts"][0]["status"], told["attempts"][0]["answer"]) == (422, "no \\x1b[2Jsuch thing")
    assert (told["body"]["form"], told["body"]["text"], told["body"]["size"]) == ("json", "{}", 2)


async def test_every_look_is_in_the_audit(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1"))
    await look(cemetery, letter.id, UAA)
    assert noted(cemetery) == ["letter"]
    await look(cemetery, letter.id)
    assert noted(cemetery) == ["letter", "letter", "body"]
    await body(cemetery, letter.id)
    assert noted(cemetery) == ["letter", "letter", "body", "body"]


async def test_a_confidential_body_is_for_operators_only(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1", "BBB1"))
    shown = await look(cemetery, letter.id, UAA)
    assert shown.body.shown is None
    assert shown.body.withheld == show.CONFIDENTIAL
    assert "BBB1" not in json.dumps(shown.as_json())
    with pytest.raises(NotPermittedError):
        await body(cemetery, letter.id, UAA)
    assert noted(cemetery) == ["letter"]


async def test_a_body_for_all_is_for_all(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event(body=b"{}"))
    assert (await look(cemetery, letter.id, UAA)).body.shown is not None
    found = await body(cemetery, letter.id, UAA)
    assert b"".join([piece async for piece in found.pieces]) == b"{}"


ROLES = st.frozensets(st.sampled_from(Role))
NAMES = st.sampled_from(["AAA1", "BBB1", "CCC1"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roles=ROLES, own=st.frozensets(NAMES), audience=st.frozensets(NAMES), whole=st.booleans())
async def test_a_letter_is_open_to_operators_and_to_its_own_participants_people(
    cemetery: Cemetery, roles: frozenset[Role], own: frozenset[str], audience: frozenset[str], whole: bool
) -> None:
    """To all others it is as if it were not there, and its body is theirs only if it is for all."""
    one = event(*(audience | {"AAA1"} if audience else ()))
    (letter,) = await cemetery.bury(cemetery.endpoint("AAA1", one.id), one)
    who = person(*own, roles=roles)
    operator = Role.OPERATOR in roles
    concerned = "AAA1" in own and bool(roles & {Role.PARTICIPANT, Role.UAA})
    if not (operator or concerned):
        for letter_id in (letter.id, letter.id[:12], "dl_none"):
            with pytest.raises(NotPermittedError, match="this letter is not open to you"):
                await (body if whole else look)(cemetery, letter_id, who)
    elif not whole:
        shown = await look(cemetery, letter.id, who)
        assert (shown.body.shown is not None) == (operator or not audience)
    elif operator or not audience:
        assert (await body(cemetery, letter.id, who)).size == len(one.body)
    else:
        with pytest.raises(NotPermittedError, match="confidential"):
            await body(cemetery, letter.id, who)


async def test_the_beginning_of_a_letters_id_is_enough_for_operators_only(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event())
    assert (await look(cemetery, letter.id[:12])).letter.id == letter.id
    assert (await look(cemetery, letter.id, UAA)).letter.id == letter.id
    for beginning in (letter.id[:12], "dl_"):
        with pytest.raises(NotPermittedError):
            await look(cemetery, beginning, UAA)


async def test_an_event_that_is_not_open_any_more_is_withheld(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event())
    who = person("AAA1", open_="market.ruc.#")
    shown = await look(cemetery, letter.id, who)
    assert (shown.attributes, shown.body.shown, shown.body.withheld) == ({}, None, show.NOT_OPEN)
    with pytest.raises(NotPermittedError):
        await body(cemetery, letter.id, who)


async def test_a_look_is_noted_with_its_reason(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event())
    asked = cemetery.database, cemetery.store, letter.id, UAA
    await show.look(*asked, reason="they called", letters_kept=KEPT)
    with cemetery.database.snapshot() as sql:
        entry = audit.find(sql, kind="letters").rows[0]
    assert (entry.actor, entry.reason) == ("jane", "they called")


async def test_a_large_body_is_shown_in_part_and_streamed_whole(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1", body=CHUNKED, datacontenttype="application/xml"))
    shown = (await look(cemetery, letter.id)).body.shown
    assert shown is not None
    assert shown.text.startswith("<a>")
    assert shown.remark == f"the first {TEXT_BYTES:,} of {len(CHUNKED):,} bytes"
    found = await body(cemetery, letter.id)
    assert b"".join([piece async for piece in found.pieces]) == CHUNKED


async def test_it_is_told_how_long_a_body_is_there(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1"))
    assert (await look(cemetery, letter.id)).kept_until == (await cemetery.letters([letter]))[
        0
    ].died_at + KEPT
    (other,) = await cemetery.bury(cemetery.endpoint("AAA1", "two"), event("AAA1"), kept=False)
    assert (await look(cemetery, other.id)).kept_until == datetime.fromtimestamp(other.expires or 0, UTC)
    await cemetery.forget(other.claim_id)
    assert (await look(cemetery, other.id)).kept_until is None


async def test_a_letter_is_shown_although_its_body_is_gone(cemetery: Cemetery) -> None:
    (letter,) = await cemetery.bury(cemetery.endpoint("AAA1"), kept=False)
    await cemetery.forget(letter.claim_id)
    shown = await look(cemetery, letter.id)
    assert (shown.attributes, shown.body.shown) == ({}, None)
    assert "neither in Redis nor in the database" in shown.body.withheld
    assert noted(cemetery) == ["letter"]
    with pytest.raises(BodyGoneError):
        await body(cemetery, letter.id)
    assert (await look(cemetery, letter.id, UAA)).body.withheld == show.LOST


async def test_a_letter_is_shown_although_redis_is_away(cemetery: Cemetery) -> None:
    letter = await bury(cemetery, event("AAA1"))
    await cemetery.store.aclose()
    shown = await look(cemetery, letter.id)
    assert shown.body.shown is None
    assert "Redis" in shown.body.withheld
    assert (await look(cemetery, letter.id, UAA)).body.withheld == show.AWAY


async def test_what_was_no_ticket_is_shown_to_operators_as_its_bytes(cemetery: Cemetery) -> None:
    at = datetime.now(UTC)
    raw = DeadLetter(
        id="dl_raw",
        state_at=at,
        died_at=at,
        cause="undecodable",
        fingerprint="x",
        detail="",
        attempts=0,
        raw=b"no ticket\0",
    )
    with cemetery.database.transaction() as sql:
        letters.record(sql, [raw], [], [])
    shown = (await look(cemetery, raw.id)).body.shown
    assert shown is not None
    assert shown.text.endswith("no ticket.")
    with pytest.raises(NotPermittedError):
        await look(cemetery, raw.id, UAA)


async def test_an_unknown_letter_is_an_error(cemetery: Cemetery) -> None:
    with pytest.raises(NotFoundError, match="dl_nothing"):
        await look(cemetery, "dl_nothing")
    assert noted(cemetery) == []


@pytest.mark.parametrize(
    ("body", "content_type", "form", "text"),
    [
        (b'{"mw":1.5}', "application/json", "json", '{\n  "mw": 1.5\n}'),
        (b"[1]", "application/vnd.iso+json; charset=utf-8", "json", "[\n  1\n]"),
        (b"{broken", "application/json", "text", "{broken"),
        (b"[" * 100_000, "application/json", "text", "[" * 100_000),
        ("Kürzung".encode("latin-1"), "text/plain; charset=iso-8859-1", "text", "Kürzung"),
        ("Kürzung".encode(), "text/plain", "text", "Kürzung"),
        (b"a\xffb", "text/plain", "text", "a\N{REPLACEMENT CHARACTER}b"),
        (b"<a/>", "application/atom+xml", "text", "<a/>"),
        (b"a\x1b[2J\r\nb\tc", "text/plain", "text", "a\\x1b[2J\\r\nb\tc"),
        (b"\0\x01PK", "application/zip", "hex", f"00000000  {'00 01 50 4b':<47}  ..PK"),
        (b"", "application/zip", "hex", ""),
        (b"", "application/json", "text", ""),
    ],
)
def test_bytes_are_shown_as_their_content_type_says(
    body: bytes, content_type: str, form: str, text: str
) -> None:
    shown = legible(body, len(body), content_type)
    assert (shown.form, shown.text) == (form, text)


@pytest.mark.parametrize(
    ("start", "size", "content_type", "remark"),
    [
        (b"{}", 2, "application/json", ""),
        (b"{", 1, "application/json", "it is not JSON"),
        (b"{" * 10, 100, "application/json", "the first 10 of 100 bytes"),
        (b"a", 1, "text/plain; charset=klingon", "its character set 'klingon' is unknown; shown as UTF-8"),
        (b"a" * 5000, 5000, "image/png", f"the first {HEX_BYTES:,} of 5,000 bytes"),
    ],
)
def test_what_is_not_shown_is_remarked(start: bytes, size: int, content_type: str, remark: str) -> None:
    assert legible(start, size, content_type).remark == remark


def test_a_character_that_is_cut_in_two_is_left_out() -> None:
    assert legible("aü".encode()[:2], 3, "text/plain").text == "a"


@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "text/plain", "image/png", "text/x; charset"]),
)
def test_any_bytes_become_harmless_text(body: bytes, content_type: str) -> None:
    text = legible(body, len(body), content_type).text
    assert all(one.isprintable() or one in "\n\t" for one in text)
    assert harmless(text) == text
