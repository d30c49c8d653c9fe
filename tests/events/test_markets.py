from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.bodies import decoded
from claimbus.events.catalogue import HOURLY_MARKETS, MARKET_EVENTS, WINDOW_EVENTS, check
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import Event
from claimbus.events.markets import hour_of, hours_in, market_event

AT = datetime(2026, 3, 7, 18, tzinfo=UTC)
SHORT, LONG, PLAIN = date(2026, 3, 8), date(2026, 11, 1), date(2026, 3, 7)


def made(market: str, event: str, **arguments: object) -> Event:
    known: dict[str, Any] = {"trade_date": PLAIN, "source": "/production/market", "at": AT}
    return market_event(market, event, **(known | arguments))


@pytest.mark.parametrize(("market", "event"), [(m, e) for m, events in MARKET_EVENTS.items() for e in events])
def test_every_event_of_every_market_is_accepted_by_the_catalogue(market: str, event: str) -> None:
    found = made(market, event, hour=18 if market in HOURLY_MARKETS else None, due=AT, reason="late results")
    check(found)
    assert found.type == f"market.{market}.{event}"
    assert found.audience == "all"


def test_a_close_says_for_which_trade_date_and_hour() -> None:
    event = made("rtm", "closed", trade_date=SHORT, hour=3)
    assert event.id == "rtm-closed-2026-03-08-h03"
    assert event.partitionkey == "rtm/2026-03-08/3"
    assert decoded(event.body) == {
        "market": "rtm",
        "trade_date": "2026-03-08",
        "hour": 3,
        "starts": "2026-03-08T10:00:00Z",
        "ends": "2026-03-08T11:00:00Z",
        "occurrence": 1,
    }


def test_telling_the_same_twice_is_one_event_and_a_second_reopening_is_another() -> None:
    first = made("DAM", "reopened")
    assert first == made("dam", "reopened")
    assert first.id == "dam-reopened-2026-03-07"
    second = made("dam", "reopened", occurrence=2)
    assert second.id == "dam-reopened-2026-03-07-2"
    assert second.partitionkey == first.partitionkey == "dam/2026-03-07"


@given(
    st.sampled_from([(m, e) for m in HOURLY_MARKETS for e in WINDOW_EVENTS]),
    st.sampled_from([(m, e) for m in HOURLY_MARKETS for e in WINDOW_EVENTS]),
    st.tuples(st.integers(1, 23), st.integers(1, 12)),
    st.tuples(st.integers(1, 23), st.integers(1, 12)),
)
def test_ids_differ_when_what_happened_does(
    one: tuple[str, str], other: tuple[str, str], when: tuple[int, int], later: tuple[int, int]
) -> None:
    ids = [
        made(*what, hour=hour, occurrence=occurrence).id
        for what, (hour, occurrence) in ((one, when), (other, later))
    ]
    assert (ids[0] == ids[1]) == ((one, when) == (other, later))


@pytest.mark.parametrize(
    ("market", "event", "arguments", "field"),
    [
        ("icm", "closed", {}, "market"),
        ("ruc", "closed", {}, "event"),
        ("ruc", "reopened", {}, "event"),
        ("dam", "close", {}, "event"),
        ("dam", "closed", {"hour": 1}, "hour"),
        ("ruc", "results-published", {"hour": 1}, "hour"),
        ("rtm", "closed", {}, "hour"),
        ("hasp", "reclosed", {}, "hour"),
        ("fmm", "closed", {"hour": 0}, "hour"),
        ("fmm", "closed", {"hour": 25}, "hour"),
        ("rtm", "closed", {"hour": 24, "trade_date": SHORT}, "hour"),
        ("rtm", "closed", {"hour": 26, "trade_date": LONG}, "hour"),
        ("dam", "closed", {"occurrence": 0}, "occurrence"),
    ],
)
def test_what_a_market_cannot_do_is_refused_with_the_argument(
    market: str, event: str, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        made(market, event, **arguments)
    assert refused.value.field == field


def test_a_market_says_which_events_it_has() -> None:
    with pytest.raises(
        InvalidInputError, match="only results-published, publication-delayed, price-corrected"
    ):
        made("ruc", "closed")


@pytest.mark.parametrize(("day", "hours"), [(PLAIN, 24), (SHORT, 23), (LONG, 25)])
def test_the_hours_of_a_day_follow_each_other_from_midnight_to_midnight(day: date, hours: int) -> None:
    assert hours_in(day) == hours
    windows = [hour_of(day, hour) for hour in range(1, hours + 1)]
    assert windows[0][0] == hour_of(day - timedelta(days=1), hours_in(day - timedelta(days=1)))[1]
    assert windows[-1][1] == hour_of(day + timedelta(days=1), 1)[0]
    assert all(ended == begins for (_, ended), (begins, _) in pairwise(windows))
    check(made("rtm", "closed", trade_date=day, hour=hours))


def test_the_time_zone_of_the_market_can_be_another() -> None:
    event = made("rtm", "closed", trade_date=SHORT, hour=24, timezone="America/Phoenix")
    assert decoded(event.body)["starts"] == "2026-03-09T06:00:00Z"
