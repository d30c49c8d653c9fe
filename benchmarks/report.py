"""What a run has shown: medians, ratios within each round, as a table and as JSON."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.side import Outcome


@dataclass(frozen=True, slots=True)
class Result:
    """The outcomes of every side, round by round, for bodies of ``size`` bytes.

    ``compared`` maps a ratio's name to the sides of which the fastest is what ``product`` is compared with.
    """

    name: str
    unit: str
    size: int
    product: str
    outcomes: Mapping[str, Sequence[Outcome]]
    compared: Mapping[str, Sequence[str]]

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

    def table(self) -> Table:
        """Return the figures for a terminal."""
        table = Table(title=f"{self.name}, bodies of {self.size:,} bytes", title_justify="left")
        table.add_column("side")
        for heading in (self.unit, "slowest", "fastest", "CPU µs", f"{short(self.product)} is"):
            table.add_column(heading, justify="right")
        for side, outcomes in self.outcomes.items():
            rates, ratio = self.rates(side), self.ratio(side)
            figures = (median(rates), min(rates), max(rates), _cpu_microseconds(outcomes))
            times = "" if ratio is None or side == self.product else f"{ratio:.2f} x"
            table.add_row(short(side), *(f"{figure:,.0f}" for figure in figures), times)
        return table

    def settings(self) -> Iterator[str]:
        """Return what each side says of itself, a line each."""
        for side, outcomes in self.outcomes.items():
            said = "; ".join(f"{name}: {value}" for name, value in outcomes[0].settings.items())
            yield f"{short(side)}: {said}"

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


def machine() -> dict[str, str | int]:
    """Return what a figure depends on besides the servers."""
    return {
        "processors": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_microseconds(outcomes: Sequence[Outcome]) -> float:
    return median(outcome.cpu_seconds / outcome.count for outcome in outcomes) * 1e6
