"""What the demo sets out to do: who takes part, what they subscribe to, what goes wrong, when markets close.

Plain data: `Plan.as_json` is what the run, the receivers and a reader see.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, Literal

from claimbus.cli.demo.expectation import MarketEvent

FEWEST: Final = 5
"""The participants that the planned faults and the ordered endpoint take."""

MADE_UP: Final = "QZX_DEMO_{:04d}"
"""IDs of participants for somebody else's report: of one length, and like no name in one."""

MORNING, EVENING = 7, 18
"""Trade hours for which the hourly markets' closes are announced."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What one endpoint does wrong on purpose.

    ``down``: accepts no connection from before the trade date numbered ``from_day`` (from 0) is published
    until after ``until_day`` is, and for ``seconds`` at least. ``slow``: answers after ``seconds``.
    ``failing``: answers 500 to each ``every``-th request. ``refusing``: answers 422 to events of ``types``.
    """

    kind: Literal["down", "slow", "failing", "refusing"]
    from_day: int = 0
    until_day: int = 0
    seconds: float = 0.0
    every: int = 0
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {
            "down": "down, and comes back",
            "slow": f"answers after {self.seconds:g} s",
            "failing": "answers 500 now and then",
            "refusing": "refuses some events for good",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Participant:
    """A participant and its one endpoint."""

    id: str
    organisation: str
    subscriptions: tuple[str, ...]
    ordered: bool = False
    latest_only: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole demo. ``ladder``: the pauses between attempts; ``probes``: those of a hold; in seconds."""

    participants: tuple[Participant, ...]
    calendar: tuple[MarketEvent, ...]
    ladder: tuple[float, ...] = (2, 3, 5, 8, 12)
    probes: tuple[float, ...] = (0.5, 1, 2, 4)

    @property
    def subscriptions(self) -> dict[str, tuple[str, ...]]:
        """Each participant's event-type patterns."""
        return {participant.id: participant.subscriptions for participant in self.participants}

    @property
    def faults(self) -> dict[str, Fault]:
        """The planned fault of each participant that has one."""
        return {participant.id: participant.fault for participant in self.participants if participant.fault}

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; dates in ISO form."""
        document = asdict(self)
        document["calendar"] = [
            {"type": event.type, "trade_date": event.trade_date.isoformat(), "hour": event.hour}
            for event in self.calendar
        ]
        return document


PATTERNS: Final = (
    ("#",),
    ("market.#",),
    ("market.dam.*", "oms.resource-outage.*"),
    ("*.*.*",),
    ("oms.#", "*.*.closed"),
    ("oms.#", "oms.resource-outage.created", "market.dam.closed"),
    ("oms.resource-outage.status-changed", "market.dam.results-published"),
    ("market.dam.closed", "market.dam.reclosed"),
    ("oms.*.ended", "oms.*.cancelled", "market.rtm.#"),
    ("#.closed", "oms.#.changed"),
)
"""Subscriptions, dealt out in turn. Two patterns of one endpoint may match one event: it comes once."""


def make_plan(participants: Mapping[str, str], trade_dates: Sequence[date]) -> Plan:
    """Return the plan for these participants (ID to organisation) and trade dates, both in a fixed order.

    Raises ValueError for fewer than `FEWEST` participants and for no trade date.
    """
    if len(participants) < FEWEST:
        raise ValueError(f"the demo needs at least {FEWEST} participants for its planned faults")
    if not trade_dates:
        raise ValueError("the report has no trade date")
    last = len(trade_dates) - 1
    special: dict[int, dict[str, Any]] = {
        0: {
            "latest_only": True,
            "fault": Fault(
                "down", from_day=min(1, last), until_day=max(min(1, last), last // 2), seconds=3.0
            ),
        },
        1: {"fault": Fault("slow", seconds=0.6)},
        2: {"latest_only": True, "fault": Fault("failing", every=4)},
        3: {"fault": Fault("refusing", types=("market.dam.closing-soon", "oms.resource-outage.changed"))},
        4: {"ordered": True},
        10: {"ordered": True},
    }
    return Plan(
        participants=tuple(
            Participant(id_, organisation, PATTERNS[number % len(PATTERNS)], **special.get(number, {}))
            for number, (id_, organisation) in enumerate(participants.items())
        ),
        calendar=tuple(
            event
            for number, day in enumerate(trade_dates)
            for event in _market_day(day, number, min(1, last))
        ),
    )


def made_up_participants(count: int) -> dict[str, str]:
    """Return so many participants for somebody else's report, four to three organisations."""
    return {MADE_UP.format(number): f"Demo Organisation {number * 3 // 4 + 1}" for number in range(count)}


def _market_day(day: date, number: int, reopened: int) -> Iterator[MarketEvent]:
    """Yield a trade date's market events in order; on one the day-ahead market reopens and closes again."""

    def event(name: str, hour: int | None = None) -> MarketEvent:
        return MarketEvent(f"market.{name}", day, hour)

    yield event("dam.opened")
    yield event("dam.closing-soon")
    yield event("dam.closed")
    if number == reopened:
        yield event("dam.reopened")
        yield event("dam.reclosed")
    yield event("dam.results-published")
    if number % 3 == 2:
        yield event("ruc.publication-delayed")
    yield event("ruc.results-published")
    for hour in (MORNING, EVENING):
        for market in ("hasp", "fmm", "rtm"):
            yield event(f"{market}.closed", hour)
    if number % 3 == 1:
        yield event("rtm.price-corrected", EVENING)
