"""A page of a long list, and the cursor that leads to the next one."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from claimbus.events.errors import InvalidInputError

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows; ``cursor`` is handed back for those that follow, and None when there are none."""

    rows: tuple[Row, ...]
    cursor: str | None

    @classmethod
    def cut(cls, found: Sequence[Row], limit: int, cursor_of: Callable[[Row], str]) -> "Page[Row]":
        """Make a page of at most ``limit`` rows from a look that asked for one row more."""
        rows = tuple(found[:limit])
        return cls(rows, cursor_of(rows[-1]) if len(found) > limit else None)


def whole_numbers(cursor: str, count: int) -> tuple[int, ...]:
    """Read ``12-34`` as so many numbers. Raises InvalidInputError for what no page gave out."""
    if re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})*", cursor):
        numbers = tuple(map(int, cursor.split("-")))
        if len(numbers) == count and max(numbers) < 2**63:
            return numbers
    raise _no_cursor(cursor)


def opaque(*told: str) -> str:
    """Return a cursor of texts, for lists in their order: it tells nothing that the page did not."""
    return base64.urlsafe_b64encode(json.dumps(told, ensure_ascii=False).encode()).decode().rstrip("=")


def texts(cursor: str, count: int) -> tuple[str, ...]:
    """Read a cursor of so many texts. Raises InvalidInputError for what no page gave out."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        told = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as wrong:
        raise _no_cursor(cursor) from wrong
    if not isinstance(told, list) or len(told) != count:
        raise _no_cursor(cursor)
    if not all(isinstance(one, str) and one.isprintable() for one in told):
        raise _no_cursor(cursor)
    return tuple(told)


def _no_cursor(cursor: str) -> InvalidInputError:
    return InvalidInputError("cursor", f"{cursor!r:.80} did not come from an earlier page")
