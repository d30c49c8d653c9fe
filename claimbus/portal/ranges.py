"""Which part of a body is asked for, if any (RFC 9110): byte ranges and conditions, as values."""

import re
from typing import Final, NamedTuple

from claimbus.events.errors import ClaimbusError

_SINGLE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')

LONGEST: Final = 19
"""Digits of a position; more are no position in anything."""


class Span(NamedTuple):
    """Bytes from ``start`` to before ``stop``."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.stop - self.start


class UnsatisfiableError(ClaimbusError):
    """A range that begins behind the body's end, or asks for nothing."""

    def __init__(self) -> None:
        super().__init__("the range begins behind the end of the body, or is empty")


def is_current(if_none_match: str | None, etag: str) -> bool:
    """Tell whether who asks has this body already."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)


def span_of(range_: str | None, if_range: str | None, *, etag: str, size: int) -> Span | None:
    """Return the part that is asked for; None for all of it.

    That is also the answer to several ranges at once, to one that cannot be read, and to one on the condition
    that the body is another than this (``if_range``; a date never is this). Raises UnsatisfiableError.
    """
    match = _SINGLE.fullmatch(range_ or "")
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if max(len(first), len(last)) > LONGEST or not (first or last):
        return None
    if not first:
        span = Span(max(size - int(last), 0), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.size <= 0:
        raise UnsatisfiableError
    return span
