"""How an attempt ended, as a value."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumers.webhook import Answer


class Verdict(StrEnum):
    """The distinct ways in which an attempt, or the try to make one, can end."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    """The receiver refuses this event: another 4xx. Trying often is pointless."""
    FAILED = "failed"
    """The receiver cannot take it now: no connection, TLS, timeout, 3xx, 408, 425, 429, 5xx."""
    EXPIRED = "expired"
    """Over the endpoint's age limit, or the claim outlived its life."""
    MISSING = "missing"
    """The claim should be there and is not."""
    CORRUPT = "corrupt"
    """The claim is there and is not what was checked in."""
    NOT_ENTITLED = "not entitled"
    """The audience sealed in the claim does not name this participant."""
    STORE_UNAVAILABLE = "store unavailable"
    """The claim store does not answer; no attempt was made and none is counted."""
    SUPERSEDED = "superseded"
    """A newer status of the same outage was delivered already, and the endpoint wants only the latest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with what else decides the next step.

    ``answered``: an HTTP answer came. ``gone``: it was 410. ``retry_after`` is in seconds.
    """

    verdict: Verdict
    answered: bool = False
    gone: bool = False
    retry_after: float | None = None
    detail: str = ""


DELIVERED: Final = Outcome(Verdict.DELIVERED, answered=True)
"""How an attempt ends that was taken."""

_TRANSIENT = frozenset({408, 425, 429})


def judge(answer: "Answer") -> Outcome:
    """Judge how the receiver answered."""
    status = answer.status
    if status is None:
        return Outcome(Verdict.FAILED, detail=answer.detail)
    if 200 <= status < 300:
        return DELIVERED
    transient = status < 400 or status >= 500 or status in _TRANSIENT
    return Outcome(
        Verdict.FAILED if transient else Verdict.REJECTED,
        answered=True,
        gone=status == 410,
        retry_after=answer.retry_after if transient else None,
        detail=answer.detail,
    )
