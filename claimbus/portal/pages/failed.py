"""A form that did not do what it should: what its page says then, with all that was typed still there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from claimbus.events.errors import InvalidInputError, UnavailableError
from claimbus.portal.desk.rates import TooOftenError
from claimbus.portal.pages.typed import Typed
from claimbus.portal.problems import ProblemError, problem_of

NOT_DONE: Final = (InvalidInputError, TooOftenError, UnavailableError)
"""What is told on the page whose form it was; everything else has a page of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Which form it was, what was typed into it, and why it failed.

    ``errors`` has the reason for each field at fault; ``refused`` is why it could not be done now.
    """

    form: str = ""
    typed: Typed | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    refused: ProblemError | None = None

    @classmethod
    def of(cls, form: str, typed: Typed | None, wrong: Exception) -> Self:
        """Return what to show for what a form's act raised, one of `NOT_DONE`."""
        if isinstance(wrong, InvalidInputError):
            return cls(form=form, typed=typed, errors={wrong.field: wrong.reason})
        return cls(form=form, typed=typed, refused=problem_of(wrong))

    @property
    def status(self) -> int:
        """The page's HTTP status."""
        return 422 if self.errors else self.refused.status if self.refused else 200

    @property
    def headers(self) -> Mapping[str, str]:
        """The page's further headers: when to try again."""
        return (self.refused and self.refused.headers) or {}
