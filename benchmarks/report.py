"""What a benchmark has found: tables, targets, a chart; and the machine that it found it on."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

Cell = str | float | None
"""A figure, a word, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table; the first column names its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def table(self) -> Table:
        """Return it for a terminal."""
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*map(shown, row))
        return table


@dataclass(frozen=True, slots=True)
class Target:
    """What was to be reached: at least ``bound``, or ``at_most`` it; ``measured`` is None if it was not."""

    what: str
    bound: float
    measured: float | None
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """Say ``met``, ``missed`` or ``not measured``."""
        if self.measured is None:
            return "not measured"
        met = self.measured <= self.bound if self.at_most else self.measured >= self.bound
        return "met" if met else "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a benchmark has to say: ``notes`` are lines of text, ``chart`` is SVG, ``document`` JSON."""

    name: str
    sheets: Sequence[Sheet]
    chart: str
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    document: Mapping[str, Any] = field(default_factory=dict)

    def sheet_of_targets(self) -> Sheet:
        """Return the targets beside what was measured."""
        rows = [
            (
                one.what,
                f"at {'most' if one.at_most else 'least'} {shown(one.bound)}",
                one.measured,
                one.verdict,
            )
            for one in self.targets
        ]
        return Sheet("targets", ("", "to reach", "measured", ""), rows)

    def all_sheets(self) -> list[Sheet]:
        """Return the tables, that of the targets last, if there are any."""
        return [*self.sheets, self.sheet_of_targets()] if self.targets else [*self.sheets]

    def json(self) -> dict[str, Any]:
        """Return it for a program: the benchmark's own document, the tables and the targets."""
        sheets = [{"title": one.title, "columns": one.columns, "rows": one.rows} for one in self.sheets]
        targets = [
            {"what": one.what, "bound": one.bound, "measured": one.measured, "verdict": one.verdict}
            for one in self.targets
        ]
        return {"name": self.name, **self.document, "tables": sheets, "targets": targets}


def shown(cell: Cell) -> str:
    """Return a cell as it is printed: three digits, and whole numbers whole."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if cell == int(cell) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:#.3g}"


def machine() -> dict[str, str | int]:
    """Return what a figure depends on besides the servers, and the day."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processors": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
