"""What was typed into a form, or stands behind the ``?`` of an address: strings, and what they mean."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request

from claimbus.events.errors import InvalidInputError
from claimbus.events.markets import PACIFIC


@dataclass(frozen=True, slots=True)
class Typed:
    """Fields by name. What is blank counts as not there; what cannot be read raises InvalidInputError."""

    fields: ImmutableMultiDict[str, Any]

    def text(self, name: str) -> str:
        """Return a field's text without blanks around, or nothing."""
        return next(iter(self.all(name)), "")

    def maybe(self, name: str) -> str | None:
        """Return a field's text; None when there is none."""
        return self.text(name) or None

    def needed(self, name: str, why: str) -> str:
        """Return a field's text. Raises InvalidInputError, with the reason given, when there is none."""
        text = self.text(name)
        if not text:
            raise InvalidInputError(name, why)
        return text

    def all(self, name: str) -> tuple[str, ...]:
        """Return every text of a field that may be there several times."""
        given = (one.strip() for one in self.fields.getlist(name) if isinstance(one, str))
        return tuple(one for one in given if one)

    def ticked(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return bool(self.text(name))

    def number(self, name: str) -> float | None:
        """Return a number; None when there is none."""
        text = self.text(name)
        try:
            return float(text) if text else None
        except ValueError as wrong:
            raise InvalidInputError(name, f"{text!r:.40} is no number") from wrong

    def whole(self, name: str) -> int | None:
        """Return a whole number; None when there is none."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidInputError(name, f"{text!r:.40} is no whole number")
        return int(text)

    def count(self, name: str) -> int:
        """Return a small number that a page gave itself; 0 for anything else."""
        text = self.text(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0

    def moment(self, name: str) -> datetime | None:
        """Return a moment; one without an offset is in the ISO's own time."""
        text = self.text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.replace(tzinfo=ZoneInfo(PACIFIC))
            found.timestamp()  # a year that no computer counts raises here
        except (ValueError, OverflowError) as wrong:
            raise InvalidInputError(
                name, f"{text!r:.40} is no date and time such as 2026-01-15T10:00"
            ) from wrong
        return found

    def period(self) -> tuple[datetime | None, datetime | None]:
        """Return ``since`` and ``until``."""
        since, until = self.moment("since"), self.moment("until")
        if since is not None and until is not None and until <= since:
            raise InvalidInputError("until", "is not later than the beginning")
        return since, until

    def only(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the fields of these names that are there, for the audit: texts, or lists of them."""
        found = {name: list(self.all(name)) for name in names}
        return {name: texts[0] if len(texts) == 1 else texts for name, texts in found.items() if texts}

    def pairs(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return the fields of these names for an address, or for hidden fields of a form."""
        return [(name, text) for name in names for text in self.all(name)]


async def of_form(request: Request) -> Typed:
    """Return what a form sent."""
    return Typed(await request.form())


def of_address(request: Request) -> Typed:
    """Return what an address says."""
    return Typed(request.query_params)
