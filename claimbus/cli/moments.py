"""Moments and days as people write them."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from claimbus.cli.durations import parse_duration

_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}
_SPAN: Final = re.compile(r"[0-9.]+[a-z]+([0-9.]+[a-z]+)*")


def parse_moment(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Read a moment; the answer is in UTC.

    ``now``; ``2h`` or ``2h ago`` before it, ``in 30m`` after it; ``14:00`` of today; ``yesterday``, ``today``
    or ``tomorrow`` from midnight, or with a time of day; ISO 8601. What has no offset is local to ``zone``.
    Raises ValueError.
    """
    try:
        return _moment(text.split(), now, zone).astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise ValueError(
            f"{text!r} is no time: write 2h (ago), in 30m, yesterday 14:00, or 2026-03-05T14:00"
        ) from wrong


def parse_day(text: str, *, now: datetime, zone: tzinfo) -> date:
    """Read ``yesterday``, ``today``, ``tomorrow`` (in ``zone``) or a date of ISO 8601. Raises ValueError."""
    if text.strip().lower() in _DAYS:
        return _day(text.strip().lower(), now, zone)
    try:
        return date.fromisoformat(text.strip())
    except ValueError as wrong:
        raise ValueError(f"{text!r} is no day: write today, tomorrow, or 2026-03-05") from wrong


def _moment(words: list[str], now: datetime, zone: tzinfo) -> datetime:
    match [word.lower() for word in words]:
        case ["now"]:
            return now
        case ["in", span]:
            return now + parse_duration(span)
        case [span, "ago"]:
            return now - parse_duration(span)
        case [span] if _SPAN.fullmatch(span):
            return now - parse_duration(span)
        case [day] if day in _DAYS:
            return _at(_day(day, now, zone), time(), zone)
        case [day, _] if day in _DAYS:
            return _at(_day(day, now, zone), time.fromisoformat(words[1]), zone)
        case [clock] if ":" in clock[:3]:
            return _at(_day("today", now, zone), time.fromisoformat(words[0]), zone)
    moment = datetime.fromisoformat(" ".join(words))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _day(word: str, now: datetime, zone: tzinfo) -> date:
    return now.astimezone(zone).date() + timedelta(days=_DAYS[word])


def _at(day: date, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(day, clock, clock.tzinfo or zone)
