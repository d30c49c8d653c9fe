"""Latency from publish to receiver at several paces, beside the sum of its bare parts, in one run.

The load is open: each event has its moment, and its time counts from that moment, however late the publisher
got to it. All clocks are the machine's one monotonic clock.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from benchmarks import chart
from benchmarks.report import Report, Sheet, Target
from benchmarks.runner import Progress, run_side
from benchmarks.side import Outcome
from benchmarks.sides.parts import PARTS, QUEUE
from benchmarks.spread import Spread
from benchmarks.stage import Stage, stage

SHARES: Final = (0.1, 0.5, 0.8)
"""Of the capacity, that is of what the same machine carries with the same publisher and worker."""

BOUND: Final = 2.0
PERCENTILES: Final = {"p50": "p50", "p99": "p99", "p99.9": "p999"}
NOTED: Final = 400_000
IN_FLIGHT: Final = 256


def latency(
    *,
    size: int,
    endpoints: int,
    seconds: float,
    parts: int,
    progress: Progress,
    shares: Sequence[float] = SHARES,
) -> Report:
    """Find the capacity, then measure ``seconds`` at each of its ``shares``, and ``parts`` times the parts.

    Each event of ``size`` bytes goes to one of ``endpoints`` endpoints, in turn.
    """
    with stage(size=size, endpoints=endpoints, noted=NOTED) as there:
        there.servers.declare(QUEUE, [QUEUE], QUEUE)
        progress("warming up")
        there.publish_at_once(seconds=min(seconds, 1.0), window=IN_FLIGHT)
        progress("capacity")
        capacity = there.publish_at_once(seconds=min(seconds, 5.0), window=IN_FLIGHT)
        measured = []
        for share in shares:
            progress(f"bare parts before {share:.0%}")
            bare = run_side("parts", replace(there.order, events=parts), there.servers)
            progress(f"{share:.0%} of {capacity:,.0f}/s")
            measured.append((share, bare, _at(there, capacity * share, seconds)))
    return _report(capacity, measured, size=size, endpoints=endpoints)


def _at(there: Stage, rate: float, seconds: float) -> tuple[float, Spread]:
    return rate, there.publish(rate=rate, seconds=seconds).spread()


def _report(
    capacity: float,
    measured: Sequence[tuple[float, Outcome, tuple[float, Spread]]],
    *,
    size: int,
    endpoints: int,
) -> Report:
    rows: list[tuple[str | float | None, ...]] = []
    bare_rows, targets = [], []
    for share, bare, (rate, spread) in measured:
        times = spread.p50 / float(bare.settings["p50"])
        rows.append((f"{share:.0%}", round(rate), spread.p50, spread.p99, spread.p999, round(times, 2)))
        figures = [bare.settings[name] for name in (*PARTS, *PERCENTILES.values())]
        bare_rows.append((f"before {share:.0%}", *figures))
        targets.append(Target(f"p50 ÷ bare parts, at {share:.0%}", BOUND, round(times, 2), at_most=True))
    title = f"latency, bodies of {size:,} bytes, {endpoints} endpoints, milliseconds"
    sum_of = [f"sum's {name}" for name in PERCENTILES]
    lines = {
        name: [(rate, getattr(spread, field)) for _, _, (rate, spread) in measured]
        for name, field in PERCENTILES.items()
    }
    lines["bare parts, p50"] = [(rate, float(bare.settings["p50"])) for _, bare, (rate, _) in measured]
    document: dict[str, Any] = {
        "capacity": round(capacity),
        "ratios": {
            f"p50_vs_parts_at_{share:.0%}": one.measured
            for (share, *_), one in zip(measured, targets, strict=True)
        },
        "spreads": {f"{share:.0%}": asdict(spread) for share, _, (_, spread) in measured},
    }
    return Report(
        name="latency",
        sheets=(
            Sheet(title, ("of the capacity", "events/s", *PERCENTILES, "p50 ÷ sum of the parts"), rows),
            Sheet("bare parts, p50, milliseconds", ("measured", *PARTS, *sum_of), bare_rows),
        ),
        chart=chart.lines("Latency from publish to receiver", "events a second", "milliseconds", lines),
        targets=targets,
        notes=(
            f"capacity: {capacity:,.0f} events/s, publisher and worker on one machine, {IN_FLIGHT} in flight",
        ),
        document=document,
    )
