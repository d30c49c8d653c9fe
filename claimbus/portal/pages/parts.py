"""A part of a page that may be missing while the rest is there."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from claimbus.events.errors import InvalidInputError, UnavailableError
from claimbus.portal.problems import ProblemError

T = TypeVar("T")

_log = structlog.get_logger("claimbus.portal.pages")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What there is to show; or ``trouble``: the server that it comes from is away; or what was ``wrong``.

    ``why`` says more of the trouble, if there are words for it that are meant for visitors. ``wrong`` has the
    reason for each field at fault.
    """

    value: T | None = None
    trouble: bool = False
    wrong: dict[str, str] | None = None
    why: str = ""

    @property
    def status(self) -> int:
        """The page's HTTP status: a wrong filter is the visitor's, a server away is told on the page."""
        return 422 if self.wrong else 200


async def part(looking: Awaitable[T]) -> Part[T]:
    """Return a part of a page. What is not open to a visitor, or is nowhere, still fails the whole page."""
    try:
        return Part(await looking)
    except UnavailableError as away:
        _log.warning("a part of a page is missing", reason=str(away))
        return Part(trouble=True, why=away.detail if isinstance(away, ProblemError) else "")


async def filtered(looking: Awaitable[T]) -> Part[T]:
    """Return a part that somebody's filters narrow; a wrong filter is told at its field."""
    try:
        return await part(looking)
    except InvalidInputError as wrong:
        return Part(wrong={wrong.field: wrong.reason})
