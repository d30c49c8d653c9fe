"""Where a chart's axis has its marks: at whole hours of the ISO's own time, or at whole minutes or days."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from claimbus.events.markets import PACIFIC
from claimbus.portal.desk.health import Hour

HOURLY: Final = timedelta(hours=1)

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

STEPS: Final = (
    *(minutes * MINUTE for minutes in (1, 5, 15, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * DAY for days in (1, 2, 7, 28)),
)
"""Seconds from a mark to the next: people count time so."""

MOST: Final = 4
"""Marks of a chart, or one more: their texts must have room."""


class Mark(NamedTuple):
    """A moment on the axis: how far along it is, 0 to 1, and what it is called."""

    share: float
    text: str


def marks(first: datetime, last: datetime) -> tuple[Mark, ...]:
    """Return the marks of an axis that begins and ends so: few, and none at the very ends."""
    span = (last - first).total_seconds()
    step = next((one for one in STEPS if span <= MOST * one), STEPS[-1])
    stride = min(step, HOUR)  # the ISO's offset from UTC is whole hours: every mark is one of these
    begin = int(first.timestamp()) // stride * stride + stride
    found = []
    for seconds in range(begin, int(last.timestamp()) + 1, stride):
        local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(PACIFIC))
        share = (seconds - first.timestamp()) / span
        if _is_on(local, step) and share < 1:
            found.append(Mark(share, _text(local)))
    return tuple(found)


def day(hours: Sequence[Hour]) -> tuple[Mark, ...]:
    """Return the marks of a chart that has a bar for each of these hours."""
    return marks(hours[0].begins, hours[-1].begins + HOURLY) if hours else ()


def begun(hours: Sequence[Hour], since: datetime) -> float:
    """Return which share of these hours, from the first on, was over by a moment and had nothing in it."""
    over = takewhile(lambda one: one.begins + HOURLY <= since and not one.delivered + one.failed, hours)
    return sum(1 for _ in over) / (len(hours) or 1)


def _is_on(local: datetime, step: int) -> bool:
    of_day = local.hour * HOUR + local.minute * MINUTE
    if step < DAY:
        return of_day % step == 0
    return of_day == 0 and local.toordinal() % (step // DAY) == 0


def _text(local: datetime) -> str:
    at_midnight = local.hour == local.minute == 0
    return f"{local:%b} {local.day}" if at_midnight else f"{local:%H:%M}"
