"""Durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.durations import parse_duration, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1h30m", 5400), ("7d", 604800), ("1.5s", 1.5), ("20", 20)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "5x", "s", "1h 30m", "-5s", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@given(st.integers(1, 10**9))
def test_whole_seconds_come_back_as_they_were_shown(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == timedelta(seconds=seconds)


@given(st.integers(0, 999))
def test_milliseconds_come_back_as_they_were_shown(milliseconds: int) -> None:
    assert parse_duration(show_duration(milliseconds / 1000)) == timedelta(milliseconds=milliseconds)
