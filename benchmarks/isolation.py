"""Isolation: what the healthy endpoints notice of those that are dead, slow or answering 500."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Final, get_args

from benchmarks import chart
from benchmarks.report import Report, Sheet, Target
from benchmarks.runner import Progress
from benchmarks.side import Trouble
from benchmarks.spread import Spread
from benchmarks.stage import WARM_UP, stage

TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)
BOUND: Final = 1.1
HEALTHY: Final = "all healthy"


def isolation(
    *,
    size: int,
    endpoints: int,
    troubled: int,
    rate: float,
    seconds: float,
    repeat: int,
    progress: Progress,
    troubles: Sequence[Trouble] = TROUBLES,
) -> Report:
    """Publish ``rate`` events a second to ``endpoints`` endpoints in turn, with ``troubled`` in trouble.

    Looked at are the others alone, the same ones in each condition. A ratio is that of a trouble's p99 to the
    p99 without, within a round; the median over the rounds counts.
    """
    conditions: tuple[Trouble | None, ...] = (None, *troubles)
    found: dict[str, list[Spread]] = {condition or HEALTHY: [] for condition in conditions}
    for number in range(repeat):
        for condition in conditions:
            name = condition or HEALTHY
            progress(f"round {number + 1} of {repeat}: {name}")
            noted = round(rate * (seconds + WARM_UP)) * 2
            with stage(
                size=size, endpoints=endpoints, noted=noted, troubled=troubled, trouble=condition
            ) as there:
                found[name].append(there.publish(rate=rate, seconds=seconds).spread(first=troubled))
    return _report(found, f"{endpoints} endpoints, {rate:,.0f} events/s, {troubled} in trouble")


def _report(found: Mapping[str, Sequence[Spread]], among: str) -> Report:
    rows, targets = [], []
    for name, spreads in found.items():
        ratio = None
        if name != HEALTHY:
            pairs = zip(spreads, found[HEALTHY], strict=True)
            ratio = round(median(one.p99 / without.p99 for one, without in pairs), 3)
            targets.append(Target(f"p99 of the healthy, others {name}", BOUND, ratio, at_most=True))
        figures = (median(getattr(one, field) for one in spreads) for field in ("p50", "p99", "p999"))
        rows.append((name, *figures, ratio))
    columns = ("the others", "p50", "p99", "p99.9", "p99 ÷ p99 without")
    bars = [chart.Bar(one.what, one.measured or 0, one.bound, at_most=True) for one in targets]
    ratios = {f"p99_{name}": one.measured for name, one in zip(list(found)[1:], targets, strict=True)}
    return Report(
        name="isolation",
        sheets=(Sheet(f"isolation, {among}: latency of the healthy, milliseconds", columns, rows),),
        chart=chart.bars(
            "Healthy endpoints beside others in trouble", "p99 with ÷ p99 without (stroke: target)", bars
        ),
        targets=targets,
        document={
            "ratios": ratios,
            "rounds": {name: [asdict(one) for one in spreads] for name, spreads in found.items()},
        },
    )
