"""Who should have had an event, by bindings and their dates."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database.bindings import Bound
from claimbus.deadletters.expected import DOUBT, Expectations, covers
from claimbus.events.event import ALL, Audience
from claimbus.events.routing import bindings
from tests.deadletters.tickets import ago

PUBLISHED = ago(hours=5).replace(microsecond=0)
CLOSED = "market.dam.closed"
SECOND = timedelta(seconds=1)
Span = tuple[datetime, datetime | None]
ALWAYS: Span = (PUBLISHED - timedelta(days=1), None)


def bound(endpoint: str, pattern: str, participant: str, *spans: Span) -> list[Bound]:
    """What is noted of an endpoint with this subscription: a generation more with each span."""
    return [
        Bound(endpoint, generation, binding, *span)
        for generation, span in enumerate(spans or [ALWAYS], 1)
        for binding in bindings(pattern, participant)
    ]


def expected(noted: Iterable[Bound], audience: Audience = ALL, type_: str = CLOSED) -> dict[str, bool]:
    return dict(Expectations(noted).of(type_, audience, int(PUBLISHED.timestamp())))


def test_those_who_are_subscribed_and_in_the_audience_are_expected_to_have_it() -> None:
    noted = [
        *bound("all of A", "#", "AAA1"),
        *bound("market of A", "market.#", "AAA1"),
        *bound("outages of A", "oms.#", "AAA1"),
        *bound("dam of B", "market.dam.*", "BBB1"),
        *bound("closes of C", CLOSED, "CCC1"),
    ]
    of_a = {"all of A": True, "market of A": True}
    of_all = of_a | {"dam of B": True, "closes of C": True}
    assert expected(noted) == of_all
    assert expected(noted, frozenset({"AAA1"})) == of_a
    assert expected(noted, frozenset({"BBB1", "CCC1", "DDD1"})) == {"dam of B": True, "closes of C": True}
    assert expected(noted, type_="market.dam.opened") == of_a | {"dam of B": True}
    assert expected(noted, frozenset({"DDD1"})) == {}


@pytest.mark.parametrize(
    ("since", "until", "certain"),
    [
        (-60, 60, True),
        (-60, None, True),
        (-60, -30, None),
        (30, None, None),
        (-DOUBT, 1 + DOUBT, True),
        (-DOUBT + 0.1, None, False),
        (0, None, False),
        (1 + DOUBT, None, None),
        (-60, DOUBT, False),
        (-60, -DOUBT, None),
    ],
)
def test_a_binding_counts_from_when_it_was_made_until_it_was_undone(
    since: float, until: float | None, certain: bool | None
) -> None:
    span = (PUBLISHED + since * SECOND, None if until is None else PUBLISHED + until * SECOND)
    found = expected(bound("e", "market.#", "AAA1", span))
    assert found == ({} if certain is None else {"e": certain})


def test_a_change_of_generation_leaves_no_gap() -> None:
    now = PUBLISHED
    minute = timedelta(minutes=1)
    overlapping = bound("e", "#", "AAA1", (now - minute, now + SECOND / 2), (now, None))
    assert expected(overlapping) == {"e": True}
    apart = bound("e", "#", "AAA1", (now - minute, now), (now + SECOND / 2, None))
    assert expected(apart) == {"e": False}


_moments = st.integers(0, 12)
_spans = st.lists(st.tuples(_moments, _moments).map(sorted).map(tuple), max_size=5)


@given(_spans, _moments, st.integers(1, 5))
def test_spans_cover_what_none_of_its_parts_lies_outside_of(
    spans: list[tuple[int, int]], begin: int, length: int
) -> None:
    end = begin + length
    by_hand = all(any(a <= part and part + 1 <= b for a, b in spans) for part in range(begin, end))
    assert covers(tuple(sorted(spans)), begin, end) == by_hand
