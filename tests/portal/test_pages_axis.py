"""Where a chart's axis has its marks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.portal.desk.health import Hour
from claimbus.portal.pages import axis

NOON = datetime(2026, 1, 15, 20, tzinfo=UTC)


def hours(count: int, last: datetime = NOON) -> list[Hour]:
    return [Hour(last - timedelta(hours=ago), 0, 0) for ago in reversed(range(count))]


@pytest.mark.parametrize(
    ("span", "texts"),
    [
        (timedelta(minutes=3), ["11:58", "11:59"]),
        (timedelta(hours=1), ["11:15", "11:30", "11:45"]),
        (timedelta(hours=24), ["18:00", "Jan 15", "06:00"]),
        (timedelta(days=5), ["Jan 12", "Jan 14"]),
    ],
)
def test_marks_are_at_whole_times_of_the_isos_own(span: timedelta, texts: list[str]) -> None:
    assert [one.text for one in axis.marks(NOON - span, NOON)] == texts


def test_on_the_day_of_25_hours_marks_stay_at_whole_hours() -> None:
    end = datetime(2026, 11, 2, 8, tzinfo=UTC)  # midnight; the day before had 25 hours
    found = axis.marks(end - timedelta(hours=25), end)
    assert [one.text for one in found] == ["12:00"]
    assert found[0].share == pytest.approx(13 / 25)


@given(
    st.timedeltas(timedelta(days=-9000), timedelta(days=9000)),
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=400)),
)
def test_marks_are_few_in_order_and_within(since: timedelta, span: timedelta) -> None:
    first = NOON + since
    found = axis.marks(first, first + span)
    shares = [one.share for one in found]
    assert shares == sorted(set(shares))
    assert all(0 < share < 1 for share in shares)
    if span <= timedelta(seconds=axis.MOST * axis.STEPS[-1]):
        assert len(found) <= axis.MOST + 1


def test_a_moment_has_no_span_and_no_marks() -> None:
    assert axis.marks(NOON, NOON) == ()
    assert axis.day([]) == ()


def test_the_axis_of_a_day_begins_where_something_is_known() -> None:
    a_day = hours(24)
    assert [one.text for one in axis.day(a_day)] == ["18:00", "Jan 15", "06:00", "12:00"]
    assert axis.begun(a_day, NOON - timedelta(days=9)) == 0
    assert axis.begun(a_day, NOON - timedelta(hours=5, minutes=30)) == pytest.approx(17 / 24)
    assert axis.begun(a_day, NOON + timedelta(minutes=10)) == pytest.approx(23 / 24)
    a_day[3] = Hour(a_day[3].begins, 0, 1)
    assert axis.begun(a_day, NOON) == pytest.approx(3 / 24)
