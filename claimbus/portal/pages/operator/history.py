"""What a portal remembers of its overview, while somebody watches: the last minutes, to be drawn."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from claimbus.portal.desk.figures import Overview

BUCKET: Final = 10
"""Seconds that become one point: the last look of them."""

POINTS: Final = 61
"""How many are kept: ten minutes, from the first to the last."""

LEAST: Final = 7
"""How many a chart has at least: a minute. Over these it reaches back only as far as anything is known."""

WIDTH: Final = 120
HEIGHT: Final = 32


class Sample(NamedTuple):
    """What is drawn of one look; None where it was not known."""

    events: float | None
    deliveries: float | None
    p50_ms: int | None
    p99_ms: int | None
    waiting: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart, as the ``d`` of an SVG path, with gaps; ``most`` is what its top stands for."""

    path: str
    most: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line for each field of a sample, and how far back they reach, in seconds."""

    seconds: int
    lines: dict[str, Line]

    @property
    def minutes(self) -> list[float]:
        """Where whole minutes before the end are on the axis, 0 to 1."""
        return [1 - ago / self.seconds for ago in range(60, self.seconds, 60)]


class History:
    """The last `POINTS` looks, one every `BUCKET` seconds."""

    def __init__(self) -> None:
        self._samples: OrderedDict[int, Sample] = OrderedDict()

    def add(self, overview: Overview) -> None:
        """Remember a look."""
        arrivals, flow, backlog = overview.arrivals.found, overview.flow.found, overview.backlog.found
        self._samples[_bucket(overview.at)] = Sample(
            events=None if arrivals is None else arrivals.events_rate,
            deliveries=None if flow is None else flow.deliveries_rate,
            p50_ms=None if arrivals is None else arrivals.p50_ms,
            p99_ms=None if arrivals is None else arrivals.p99_ms,
            waiting=None if backlog is None else backlog.total,
        )
        while len(self._samples) > POINTS:
            self._samples.popitem(last=False)

    def drawn(self, now: datetime) -> Drawn:
        """Return what is known, up to ``now``; both latencies have one scale."""
        last = _bucket(now)
        known = last - next((number for number in self._samples if number > last - POINTS), last) + 1
        points = max(known, LEAST)
        shown = [self._samples.get(number) for number in range(last - points + 1, last + 1)]
        columns = {
            name: [None if one is None else one[index] for one in shown]
            for index, name in enumerate(Sample._fields)
        }
        slowest = _most(columns["p50_ms"] + columns["p99_ms"])
        scales = {"p50_ms": slowest, "p99_ms": slowest}
        lines = {name: line(values, scales.get(name, _most(values))) for name, values in columns.items()}
        return Drawn((points - 1) * BUCKET, lines)


def line(values: Sequence[float | None], most: float) -> Line:
    """Return the line through these values, the oldest first; one that stands alone is a dot."""
    step, tall = WIDTH / (len(values) - 1), HEIGHT - 4
    parts: list[str] = []
    drawing = False
    for index, value in enumerate(values):
        if value is not None:
            place = f"{index * step:.1f} {HEIGHT - 2 - tall * (value / (most or 1)):.1f}"
            parts.append(f"L{place}" if drawing else f"M{place}h.1")
        drawing = value is not None
    return Line("".join(parts), most)


def _most(values: Sequence[float | None]) -> float:
    return max((value for value in values if value is not None), default=0)


def _bucket(moment: datetime) -> int:
    return int(moment.timestamp()) // BUCKET
