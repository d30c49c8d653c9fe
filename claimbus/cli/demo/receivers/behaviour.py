"""What a receiver does to its requests, as values that combine."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from claimbus.cli.demo.receivers.record import Received


class Behaviour(BaseModel):
    """One thing that a receiver does, and to which requests it does it. A receiver without any answers 204.

    Its behaviours are gone through in order, and the first that says how to answer decides; a ``slow`` one
    only adds its delay. So ``slow`` and ``status`` together answer late, with an error.

    - ``down``: nothing listens; connections are refused, and those that there are are cut.
    - ``slow``: ``seconds`` pass before the answer.
    - ``status``: answers with ``status`` and ``headers``: an error, a redirect, a refusal, ``retry-after``.
    - ``hang``: never answers.
    - ``reset``: breaks the connection.
    - ``drip``: answers one byte every ``seconds``.
    - ``huge``: answers 200 with ``size`` bytes, or without end when ``size`` is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["down", "slow", "status", "hang", "reset", "drip", "huge"]
    status: int = Field(default=500, ge=200, le=599)
    headers: dict[str, str] = {}
    seconds: float = Field(default=0.1, ge=0)
    size: int = Field(default=100_000_000, ge=0)

    types: tuple[str, ...] = ("*",)
    """Only events whose type matches one of these shell patterns."""
    partitionkeys: frozenset[str] | None = None
    """Only events of these outages."""
    every: int = Field(default=1, ge=1)
    """Only each n-th of the requests that the receiver gets."""
    start: float = Field(default=0, ge=0)
    """Only from so many seconds after the first request to any receiver of the process; 0: also before it."""
    end: float | None = None
    """Only until so many seconds after that first request."""

    def during(self, elapsed: float) -> bool:
        """Tell whether this is the time for it."""
        return self.start <= elapsed and (self.end is None or elapsed < self.end)

    def concerns(self, received: "Received", nth: int, elapsed: float) -> bool:
        """Tell whether it is done to this request, the ``nth`` of its receiver, counted from 1."""
        event = received.event
        return (
            self.during(elapsed)
            and nth % self.every == 0
            and any(fnmatchcase(event.get("type", ""), pattern) for pattern in self.types)
            and (self.partitionkeys is None or event.get("partitionkey") in self.partitionkeys)
        )
