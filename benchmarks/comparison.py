"""Sides beside one another, round by round: medians, and ratios within each round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.report import Sheet
from benchmarks.servers import BenchmarkError
from benchmarks.side import Outcome

ALIKE: Final = ("window", "prefetch", "delivery")
"""Settings in which sides that are peers may not differ."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcomes of every side, round by round, for bodies of ``size`` bytes.

    ``compared`` maps a ratio's name to the sides of which the fastest is what ``product`` is compared with.
    ``among`` says what else was the same for all of them, as ``100 endpoints``.
    """

    name: str
    unit: str
    size: int
    product: str
    outcomes: Mapping[str, Sequence[Outcome]]
    compared: Mapping[str, Sequence[str]]
    among: str = ""

    def rates(self, side: str) -> list[float]:
        """Return what a side did a second, round by round."""
        return [outcome.count / outcome.seconds for outcome in self.outcomes[side]]

    def ratio(self, side: str) -> float | None:
        """Return product to side, the median of each round's; None when one of them did not run."""
        if self.product not in self.outcomes or side not in self.outcomes:
            return None
        pairs = zip(self.rates(self.product), self.rates(side), strict=True)
        return round(median(ours / theirs for ours, theirs in pairs), 3)

    def ratios(self) -> dict[str, float | None]:
        """Return the ratios of ``compared`` by name, and one to each side.

        The fastest of several sides is the one with the highest median.
        """
        found: dict[str, float | None] = {}
        for name, sides in self.compared.items():
            ran = [side for side in sides if side in self.outcomes]
            found[name] = self.ratio(max(ran, key=lambda side: median(self.rates(side)))) if ran else None
        others = (side for side in self.outcomes if side != self.product)
        return found | {f"vs_{short(side)}": self.ratio(side) for side in others}

    def sheet(self) -> Sheet:
        """Return the figures."""
        rows = []
        for side, outcomes in self.outcomes.items():
            rates = self.rates(side)
            times = None if side == self.product else self.ratio(side)
            figures = (median(rates), min(rates), max(rates))
            rows.append((short(side), *map(round, figures), round(_cpu_microseconds(outcomes)), times))
        title = ", ".join(filter(None, (self.name, f"bodies of {self.size:,} bytes", self.among)))
        times_it = f"{short(self.product)} ÷ side"
        return Sheet(title, ("side", self.unit, "slowest", "fastest", "CPU µs", times_it), rows)

    def settings(self) -> Iterator[str]:
        """Return what each side says of itself, a line each."""
        for side, outcomes in self.outcomes.items():
            said = "; ".join(f"{name}: {value}" for name, value in outcomes[0].settings.items())
            yield f"{short(side)}: {said}"

    def check_alike(self, sides: Sequence[str]) -> None:
        """Raise BenchmarkError when these sides did not run with the same settings."""
        ran = [self.outcomes[side][0].settings for side in sides if side in self.outcomes]
        for name in ALIKE:
            if len(values := {settings.get(name) for settings in ran}) > 1:
                raise BenchmarkError(f"void: the sides differ in {name}: {values}")

    def document(self) -> dict[str, Any]:
        """Return it for a program."""
        sides = {
            short(side): {
                "median": round(median(self.rates(side))),
                "rounds": [round(rate) for rate in self.rates(side)],
                "cpu_microseconds": round(_cpu_microseconds(outcomes), 1),
                "settings": outcomes[0].settings,
            }
            for side, outcomes in self.outcomes.items()
        }
        return {"bytes": self.size, "ratios": self.ratios(), "unit": self.unit, "sides": sides}


def short(side: str) -> str:
    """Return a side's name without the benchmark's."""
    return side.partition("_")[2]


def _cpu_microseconds(outcomes: Sequence[Outcome]) -> float:
    return median(outcome.cpu_seconds / outcome.count for outcome in outcomes) * 1e6
