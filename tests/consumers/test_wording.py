"""What contacts read: which endpoint, since when, why, what to do, where."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database.tidings import Tiding, What
from consumers.wording import EARLIER, LONGEST, SAID, WIDTH, Wording

NOON = datetime(2026, 1, 15, 20, tzinfo=UTC)
WORDING = Wording(
    environment="map-stage", portal_url="https://events.iso.example", zone=ZoneInfo("America/Los_Angeles")
)


def tiding(
    what: What = "held", reason: str = "connection refused", *, minutes: int = 0, number: int = 1
) -> Tiding:
    return Tiding(
        key=f"{what} {minutes} {number}",
        organisation_id="Pacific Power",
        what=what,
        at=NOON + timedelta(minutes=minutes),
        reason=reason,
        endpoint_id=f"ep_{number}",
        endpoint_name="main receiver",
        participant_id="PGAE",
    )


def certificate(title: str = "Your client certificate ends in 7 days or less") -> Tiding:
    return Tiding(
        key=title,
        organisation_id="Pacific Power",
        what="certificate",
        at=NOON,
        reason="Renew it.",
        title=title,
    )


def test_a_mail_says_what_since_when_why_what_to_do_and_where() -> None:
    told = [tiding()]
    assert WORDING.subject(told) == '[map-stage] endpoint "main receiver" of PGAE: held'
    assert (
        WORDING.text("Pacific Power", told)
        == """\
Endpoint "main receiver" of PGAE is held: deliveries to it kept failing.
  ID      ep_1
  since   2026-01-15 12:00:00 PST (20:00:00 UTC)
  why     connection refused
  to do   Mend your receiver. Deliveries are tried one at a time; the first
          that succeeds ends the hold. Its queue keeps what comes, until
          that is older than the endpoint's age limit.
  where   https://events.iso.example/endpoints/ep_1

To the contacts of Pacific Power, from the event bus, environment map-stage.
Nobody reads what is answered to this mail.
"""
    )


@pytest.mark.parametrize(
    ("what", "reason", "why"),
    [
        ("held", "timeout: operation timed out", "did not answer in time (operation timed out)"),
        ("held", "HTTP 503", "it answers with HTTP 503"),
        ("disabled", "410 Gone: HTTP 410", "it answered 410 Gone, by which"),
        ("disabled", "timeout: it is late", "timeout: it is late"),
        ("paused", "", "nobody gave a reason"),
    ],
)
def test_the_reason_is_told_in_plain_words(what: What, reason: str, why: str) -> None:
    text = WORDING.text("Pacific Power", [tiding(what, reason)])
    assert why in " ".join(text.split())


def test_without_the_portals_address_no_place_is_told() -> None:
    wording = Wording(environment="test", portal_url="", zone=ZoneInfo("UTC"))
    text = wording.text("Pacific Power", [tiding(), certificate()])
    assert "where" not in text
    assert "http" not in text


def test_an_endpoints_last_state_counts_and_the_ones_before_are_listed() -> None:
    told = [tiding("held", "a"), tiding("released", "b", minutes=1), tiding("disabled", "", minutes=2)]
    assert WORDING.subject(told).endswith('endpoint "main receiver" of PGAE: disabled')
    text = WORDING.text("Pacific Power", told)
    assert text.count('Endpoint "main receiver"') == 1
    assert "  why     nobody gave a reason\n" in text
    assert "  before  2026-01-15 12:00:00 PST (20:00:00 UTC): held, a\n" in text
    assert "          2026-01-15 12:01:00 PST (20:01:00 UTC): released, b\n" in text


def test_an_endpoint_that_comes_and_goes_fills_no_page() -> None:
    told = [tiding("held" if minutes % 2 else "released", minutes=minutes) for minutes in range(100)]
    text = WORDING.text("Pacific Power", told)
    assert text.count("UTC") == EARLIER + 1
    assert f"and {99 - EARLIER} times more before that" in text


def test_several_endpoints_are_counted_and_told_one_by_one() -> None:
    told = [tiding(), tiding(number=2), tiding("released", number=3), tiding("held", number=3), certificate()]
    told += [tiding("released", number=1, minutes=3)]
    assert (
        WORDING.subject(told) == "[map-stage] endpoints: 1 released, 2 held; certificates near their end: 1"
    )
    assert WORDING.subject(told[:3]) == "[map-stage] endpoints: 2 held, 1 released"
    text = WORDING.text("Pacific Power", told)
    assert [text.count(f"  ID      ep_{number}\n") for number in (1, 2, 3)] == [1, 1, 1]
    assert "Your client certificate ends in 7 days or less." in text


def test_certificates_by_themselves_are_told_by_their_titles() -> None:
    assert WORDING.subject([certificate()]) == "[map-stage] Your client certificate ends in 7 days or less"
    assert (
        WORDING.subject([certificate("a"), certificate("b")]) == "[map-stage] certificates near their end: 2"
    )
    assert "Renew it.\n  where   https://events.iso.example\n" in WORDING.text("x", [certificate()])


@pytest.mark.parametrize("what", SAID)
def test_whatever_an_endpoint_became_there_is_something_to_do_or_nothing(what: What) -> None:
    assert "  to do   " in WORDING.text("Pacific Power", [tiding(what)])


@given(st.text(max_size=2000))
def test_what_a_receiver_answered_fills_no_page_and_makes_no_lines_of_its_own(answer: str) -> None:
    text = WORDING.text("Pacific Power", [tiding(reason=answer)])
    assert len(text) < 1000 + 2 * LONGEST
    assert text.startswith('Endpoint "main receiver" of PGAE is held')
    assert [line[:10] for line in text.splitlines() if line[:2] == "  " and line[2] != " "] == [
        "  ID      ",
        "  since   ",
        "  why     ",
        "  to do   ",
        "  where   ",
    ]


@given(st.text(st.characters(categories=["Ll", "Zs"]), max_size=300))
def test_lines_fit_a_terminal(reason: str) -> None:
    words = " ".join(word[:40] for word in reason.split())
    assert all(len(line) <= WIDTH for line in WORDING.text("Pacific", [tiding(reason=words)]).splitlines())
