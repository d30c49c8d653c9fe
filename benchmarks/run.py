"""One call of the command: what it does with reports, and those that there are."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import servers, writing
from benchmarks.report import Report, machine
from benchmarks.runner import Progress as Told

WIDTH: Final = 150
"""Characters of a line where no terminal says how many it has."""


@dataclass(slots=True)
class Run:
    """``as_json``: print everything as the last line, too. ``write``: the folder for files and the page."""

    as_json: bool = False
    write: Path | None = None
    reports: list[Report] = field(default_factory=list)

    def tell(self, found: Report, *, as_json: bool, write: Path | None) -> None:
        """Print a report, and write it where that was asked for."""
        self.as_json |= as_json
        self.reports.append(found)
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        for sheet in found.all_sheets():
            console.print(sheet.table(), highlight=False)
        for note in found.notes:
            console.print(note, highlight=False)
        console.print(
            "; ".join(f"{name}: {value}" for name, value in _place().items()) + "\n", highlight=False
        )
        if folder := write or self.write:
            writing.write(found, folder, _place())

    def end(self) -> None:
        """Print all reports as a line of JSON, if that was asked for."""
        if self.as_json and self.reports:
            documents = [one.json() | _place() for one in self.reports]
            print(
                json.dumps(documents[0] if len(documents) == 1 else {"name": "all", "benchmarks": documents})
            )


@contextmanager
def telling(name: str, steps: int) -> Iterator[Told]:
    """Show how far a benchmark has come; what is yielded is told what begins."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=steps, completed=-1)

        def told(what: str) -> None:
            bar.update(task, advance=1, description=f"{name}: {what}")

        yield told


def _place() -> dict[str, Any]:
    return machine() | servers.versions()
