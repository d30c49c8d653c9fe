"""Moments and days as people write them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.moments import parse_day, parse_moment
from claimbus.events.event import format_time

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 3, 5, 20, 30, tzinfo=UTC)  # 12:30 in Los Angeles

EARLY, LATE = datetime(2000, 1, 2), datetime(2100, 1, 1)  # noqa: DTZ001 - what hypothesis wants
nows = st.datetimes(EARLY, LATE, timezones=st.just(UTC))
clocks = st.tuples(st.integers(0, 23), st.integers(0, 59))
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read(text: str) -> datetime:
    return parse_moment(text, now=NOW, zone=PACIFIC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-05T20:30Z"),
        ("2h", "2026-03-05T18:30Z"),
        ("1d2h ago", "2026-03-04T18:30Z"),
        ("in 30m", "2026-03-05T21:00Z"),
        ("14:00", "2026-03-05T22:00Z"),
        ("today", "2026-03-05T08:00Z"),
        ("Yesterday 14:00", "2026-03-04T22:00Z"),
        ("tomorrow 09:15", "2026-03-06T17:15Z"),
        ("tomorrow 09:15Z", "2026-03-06T09:15Z"),
        ("2026-03-05", "2026-03-05T08:00Z"),
        ("2026-03-05T14:00", "2026-03-05T22:00Z"),
        ("2026-03-05 14:00", "2026-03-05T22:00Z"),
        ("2026-03-05T14:00:00+02:00", "2026-03-05T12:00Z"),
        ("2026-03-08 02:30", "2026-03-08T10:30Z"),  # the clock skips it: counted by the offset before
        ("2026-11-01 01:30", "2026-11-01T08:30Z"),  # the clock shows it twice: the first
    ],
)
def test_a_moment_is_read(text: str, expected: str) -> None:
    found = read(text)
    assert found == datetime.fromisoformat(expected)
    assert found.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "soon", "2 h", "h", "5", "in", "25:00", "9999999999d", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="yesterday 14:00"):
        read(text)


@given(nows)
def test_a_moment_of_iso_8601_is_itself_whatever_the_time_is(moment: datetime) -> None:
    assert read(format_time(moment)) == moment
    assert read(moment.astimezone(PACIFIC).isoformat()) == moment


@given(nows, st.integers(0, 10_000), st.sampled_from(sorted(UNITS)))
def test_a_span_is_before_now_and_after_it(now: datetime, count: int, unit: str) -> None:
    span = timedelta(seconds=count * UNITS[unit])
    if count * UNITS[unit] < 3e8:
        assert parse_moment(f"{count}{unit}", now=now, zone=PACIFIC) == now - span
        assert parse_moment(f"in {count}{unit}", now=now, zone=PACIFIC) == now + span


@given(nows, st.sampled_from(["yesterday", "today", "tomorrow"]), clocks)
def test_a_day_and_a_time_are_what_the_clock_on_the_wall_shows(
    now: datetime, day: str, clock: tuple[int, int]
) -> None:
    found = parse_moment(f"{day} {clock[0]:02}:{clock[1]:02}", now=now, zone=PACIFIC).astimezone(PACIFIC)
    away = {"yesterday": -1, "today": 0, "tomorrow": 1}[day]
    assert found.date() == now.astimezone(PACIFIC).date() + timedelta(days=away)
    if clock[0] != 2:  # the hour that the clock skips once a year
        assert (found.hour, found.minute) == clock


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_a_date_is_itself(day: date) -> None:
    assert parse_day(day.isoformat(), now=NOW, zone=PACIFIC) == day


def test_days_have_names() -> None:
    for word, expected in (("yesterday", 4), ("Today", 5), ("tomorrow", 6)):
        assert parse_day(word, now=NOW, zone=PACIFIC) == date(2026, 3, expected)
    with pytest.raises(ValueError, match="write today"):
        parse_day("monday", now=NOW, zone=PACIFIC)
