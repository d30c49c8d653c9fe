"""One delivery in our hands, on its way out, and one try at it."""

from dataclasses import dataclass

from claimbus.broker.consumer import Delivery
from claimbus.events.event import Event
from claimbus.events.ticket import Ticket
from claimstore.claim import Claim
from consumers.rendered import Rendered
from consumers.verdict import Outcome
from consumers.webhook import Answer


@dataclass(slots=True, eq=False)
class Work:
    """A delivery between its arrival and its ack.

    ``attempts`` counts those already made. ``arrived`` and ``not_before`` are monotonic, in seconds.
    """

    delivery: Delivery
    ticket: Ticket
    arrived: float
    attempts: int
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A delivery that may go out: redeemed, entitled to, not superseded.

    ``started`` is in seconds since the epoch. What is sent is ``rendered``; the body of a claim that has
    chunks is in the claim store still.
    """

    claim: Claim
    rendered: Rendered
    started: float


@dataclass(frozen=True, slots=True)
class Trial:
    """How one try ended.

    ``started`` is in seconds since the epoch. ``event`` is None when the claim could not be redeemed,
    ``answer`` when nothing was sent.
    """

    outcome: Outcome
    started: float
    event: Event | None = None
    answer: Answer | None = None

    def counts(self, *, probe: bool) -> bool:
        """Whether this was an attempt. A probe without an answer tells nothing about the delivery."""
        return self.answer is not None and (self.outcome.answered or not probe)
