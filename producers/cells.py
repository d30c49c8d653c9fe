"""What a cell of the feed holds: text, power, a time. Errors name the column."""

import math
from datetime import UTC, date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from claimbus.events.errors import InvalidInputError
from producers.tables import Row


def text(row: Row, column: str, *, longest: int = 64) -> str:
    """Return printable text with single spaces. Raises InvalidInputError, also for an empty cell."""
    value = row[column]
    if value is None:
        raise InvalidInputError(column, "is empty")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # how a workbook keeps whole numbers
    found = " ".join(str(value).split())
    if not found.isprintable():
        raise InvalidInputError(column, "has a control character or is not UTF-8")
    if len(found) > longest:
        raise InvalidInputError(column, f"is longer than {longest} characters")
    return found


def megawatts(row: Row, column: str) -> float:
    """Return a power in MW, finite and not negative. Raises InvalidInputError."""
    value = row[column]
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InvalidInputError(column, f"{value!r:.40} is no power of 0 MW or more")
    return number


def moment(row: Row, column: str, zone: ZoneInfo, *, fold: Literal[0, 1] = 0) -> datetime:
    """Return a time in UTC. Raises InvalidInputError.

    One without an offset is local to ``zone``: of two that the clock shows alike, the first or (``fold`` 1)
    the second; one that the clock skips counts by the offset before the gap.
    """
    value = row[column]
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone, fold=fold)
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise InvalidInputError(column, f"{value!r:.40} is no date and time") from wrong


def day(row: Row, column: str) -> date:
    """Return a date. Raises InvalidInputError."""
    value = row[column]
    try:
        return (value if isinstance(value, datetime) else datetime.fromisoformat(str(value))).date()
    except ValueError as wrong:
        raise InvalidInputError(column, f"{value!r:.40} is no date") from wrong
