"""What happens to a delivery after an attempt: a pure decision, the I/O is elsewhere.

The ladder's rungs are the pauses between attempts; a delivery that failed on the last one is a dead letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.verdict import Outcome, Verdict

REJECTED_ATTEMPTS: Final = 3
"""A 4xx may be a deployment in the middle; three attempts tell."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Done with it."""

    def __str__(self) -> str:
        return "ack"


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after the pause of this rung, seconds."""

    rung: int
    delay: float

    def __str__(self) -> str:
        return f"retry in {self.delay:g} s"


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep it unacked; the attempt does not count."""

    def __str__(self) -> str:
        return "keep"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Given up, with its cause."""

    cause: str

    def __str__(self) -> str:
        return f"dead letter: {self.cause}"


@dataclass(frozen=True, slots=True)
class Disable:
    """The endpoint is gone (410): disable it. Its queue keeps the delivery."""

    def __str__(self) -> str:
        return "disable endpoint"


Step = Ack | Retry | Keep | DeadLetter | Disable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The ladder's pauses and the age, in seconds, after which a delivery is given up."""

    ladder: Sequence[float] = field(default=(5, 30, 120, 600, 3600, 21600))
    age_limit: float = 72 * 3600

    def too_old(self, age: float) -> bool:
        """Tell whether a delivery of this age, in seconds, is given up unattempted."""
        return age > self.age_limit


_GIVEN_UP = {
    Verdict.EXPIRED: "expired",
    Verdict.MISSING: "missing",
    Verdict.CORRUPT: "corrupt",
    Verdict.NOT_ENTITLED: "not entitled",
}


def next_step(outcome: Outcome, *, attempt: int, age: float, probe: bool, policy: RetryPolicy) -> Step:
    """Decide what happens after attempt number ``attempt`` (from 1) of a delivery ``age`` seconds old.

    ``probe``: the endpoint was held. A probe that got no HTTP answer tells nothing about the delivery, so it
    does not count.
    """
    verdict = outcome.verdict
    if verdict in (Verdict.DELIVERED, Verdict.SUPERSEDED):
        return Ack()
    if verdict in _GIVEN_UP:
        return DeadLetter(_GIVEN_UP[verdict])
    if verdict is Verdict.STORE_UNAVAILABLE or (probe and not outcome.answered):
        return Keep()
    if outcome.gone:
        return Disable()
    if verdict is Verdict.REJECTED and attempt >= REJECTED_ATTEMPTS:
        return DeadLetter("rejected")
    if attempt > len(policy.ladder):
        return DeadLetter("attempts exhausted")
    if policy.too_old(age):
        return DeadLetter("expired")
    rung = attempt - 1
    if outcome.retry_after is not None:
        rung = _rung_of(outcome.retry_after, policy.ladder, at_least=rung)
    return Retry(rung, policy.ladder[rung])


def _rung_of(pause: float, ladder: Sequence[float], *, at_least: int) -> int:
    for rung in range(at_least, len(ladder)):
        if ladder[rung] >= pause:
            return rung
    return len(ladder) - 1
