"""Growth: what a publish, a delivery, a worker's start and an operator's looks cost, the more there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import chart, fan
from benchmarks.fan import Found, processor_seconds
from benchmarks.memory import resident, watched
from benchmarks.report import Cell, Report, Sheet
from benchmarks.runner import Progress, run_side
from benchmarks.servers import Room, room
from benchmarks.side import Delivering, Filling
from benchmarks.stage import WARM_UP, Stage, stage

PARTICIPANTS: Final = "participants"
FILLED: Final[Mapping[str, str]] = {
    "waiting tickets": "tickets",
    "claims": "claims",
    "attempts": "records",
}
"""What there is more and more of, and what fills it (`benchmarks.sides.fill`)."""

MIB: Final = 1 << 20
SIZE: Final = 2048
RATE: Final = 50.0
"""Events a second: one has mostly passed when the next comes."""

ROUNDS: Final = 3
"""Times that a pace is kept up; the quietest counts, as another load on the machine only ever adds."""

FEW: Final = 10
"""Participants while something else grows."""

FLAT: Final = 1.5
NOISE: Final[Mapping[str, float]] = {"ms": 3.0, "µs": 300.0, "s": 0.2, "MiB": 5.0}
"""A cost counts as flat that grew no more than so many times, or by no more than so much."""

COSTS: Final = (
    "publish ms",
    "delivery ms",
    "delivery CPU µs",
    "start s",
    "worker MiB",
    "doctor ms",
    "groups ms",
    "RabbitMQ +MiB",
    "Redis +MiB",
    "database MiB",
)
"""Medians of times. A delivery is counted from the publish; its CPU is the worker's, with all that it does
besides; servers' memory counts from before the filling."""

CHARTED: Final = COSTS[:7]


@dataclass(frozen=True, slots=True)
class Size:
    """What everything costs with ``count`` of something."""

    count: int
    costs: Mapping[str, float | None]


def growth(
    *, participants: Sequence[int], counts: Mapping[str, Sequence[int]], seconds: float, progress: Progress
) -> Report:
    """Measure with so many participants, and with so many of each of what is `FILLED`.

    Events come at `RATE` for ``seconds``, `ROUNDS` times. Then RabbitMQ alone is given events for as many
    queues as there were participants.
    """
    found: dict[str, list[Size]] = {PARTICIPANTS: []}
    for count in participants:
        progress(f"{count:,} {PARTICIPANTS}")
        found[PARTICIPANTS].append(Size(count, _costs(count, "", 0, seconds)))
    for what, sizes in counts.items():
        found[what] = []
        for count in sizes:
            progress(f"{count:,} {what}")
            found[what].append(Size(count, _costs(FEW, FILLED[what], count, seconds)))
    fans = Found((), {})
    if participants:
        progress("one event to all")
        with room() as servers:
            fans = fan.measure(servers, participants, seconds)
    return _report({what: sizes for what, sizes in found.items() if sizes}, fans)


def _costs(participants: int, what: str, count: int, seconds: float) -> dict[str, float | None]:
    def fill(order: Delivering, servers: Room) -> None:
        if count:
            chosen = {name: getattr(order, name) for name in Delivering.__dataclass_fields__}
            run_side("fill", Filling(**chosen, what=what, count=count), servers)

    seconds = max(seconds, participants / RATE / ROUNDS)  # so that each endpoint has had an event
    noted = round(RATE * (seconds + WARM_UP) * ROUNDS) * 2
    with room() as servers:
        processes = servers.process_ids()
    with (
        watched(processes) as peaks,
        stage(size=SIZE, endpoints=participants, noted=noted, prepare=fill) as there,
    ):
        rounds = [_round(there, seconds) for _ in range(ROUNDS)]
        looked = run_side("look", there.order, there.servers).settings
        grown = {name: bytes_ / MIB for name, bytes_ in peaks.grown().items()}
        database = Path(there.order.database)
        files = database.parent.glob(f"{database.name}*")
        return {
            **{cost: min(one[cost] for one in rounds) for cost in rounds[0]},
            "start s": there.worker.began["start_seconds"],
            "worker MiB": resident(there.worker.pid) / MIB,
            "doctor ms": float(looked["doctor_ms"]),
            "groups ms": float(looked["groups_ms"]),
            "RabbitMQ +MiB": grown.get("RabbitMQ"),
            "Redis +MiB": grown.get("Redis"),
            "database MiB": sum(file.stat().st_size for file in files) / MIB,
        }


def _round(there: Stage, seconds: float) -> dict[str, float]:
    before = processor_seconds(there.worker.pid)
    paced = there.publish(rate=RATE, seconds=seconds)
    return {
        "publish ms": float(paced.publishing.settings["publish_p50_ms"]),
        "delivery ms": paced.spread().p50,
        "delivery CPU µs": (processor_seconds(there.worker.pid) - before) / paced.publishing.count * 1e6,
    }


def judged(sizes: Sequence[Size], cost: str) -> str:
    """Say how a cost grows: ``flat``, ``linear``, or in between; empty for what was not seen.

    It is linear when the last of what is added costs at least half as much, each, as the first; with two
    sizes nobody can tell.
    """
    points = [(size.count, value) for size in sizes if (value := size.costs[cost]) is not None]
    if len(points) < 2:
        return ""
    (least, first), (most, last) = points[0], points[-1]
    if last <= first * FLAT or last - first <= NOISE[cost.rsplit(maxsplit=1)[-1].lstrip("+")]:
        return "flat"
    if len(points) == 2:
        return "grows"
    middle, between = points[-2]
    early = (between - first) / (middle - least)
    late = (last - between) / (most - middle)
    return "linear" if late >= early / 2 else "less than linear"


def _report(found: Mapping[str, Sequence[Size]], fans: Found) -> Report:
    sheets, bars = [], []
    for what, sizes in found.items():
        rows: list[Sequence[Cell]] = [
            (f"{size.count:,}", *(_rounded(size.costs[cost]) for cost in COSTS)) for size in sizes
        ]
        rows.append(("grows", *(judged(sizes, cost) for cost in COSTS)))
        sheets.append(Sheet(f"growth: {what}", (what, *COSTS), rows))
        for cost in CHARTED:
            first, last = sizes[0].costs[cost], sizes[-1].costs[cost]
            if first and last:
                bars.append(chart.Bar(f"{sizes[-1].count:,} {what}: {cost.rpartition(' ')[0]}", last / first))
    return Report(
        name="growth",
        sheets=[*sheets, *fans.sheets()],
        chart=chart.bars("What costs more, the more there is", "times what it costs with the fewest", bars),
        document={
            "sizes": {
                what: [{"count": one.count, **one.costs} for one in sizes] for what, sizes in found.items()
            },
            **fans.document(),
            "judged": {what: {cost: judged(sizes, cost) for cost in COSTS} for what, sizes in found.items()},
        },
    )


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 2)
