"""What commands print: tables for people, JSON for programs, progress on a terminal."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from claimbus.events.event import format_time

Row = Mapping[str, Any]
"""What one thing is, by name: JSON values, moments, dates, bytes."""

_WIDE: Final = 100_000
"""Characters a line where nobody reads it on a screen: rich would fold a table into 80."""

_BARS: Final = "▁▂▃▄▅▆▇█"


class Bar:
    """How far work has come, as it is shown on a terminal; to be called with what changed."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Tell how many of how many are done; the note stands behind the bar."""
        self._shown.update(self._task, completed=done, total=total, note=note)

    def say(self, text: str) -> None:
        """Print a line to standard error, above the bar if there is one."""
        self._shown.console.print(Text(text), soft_wrap=True)


def listing(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, empty: str = "none") -> None:
    """Print rows: as one JSON array with all that they hold, or as a table of these columns."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        say(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    _print(table)


def details(row: Row, *, as_json: bool) -> None:
    """Print one thing: each fact that there is on a line, or all as a JSON object."""
    if as_json:
        print_json(row)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in row.items():
        if cell := _cell(value):
            table.add_row(Text(name.replace("_", " ")), Text(cell))
    _print(table)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a JSON value; without ``indent`` on one line."""
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent), flush=True)


def say(text: str) -> None:
    """Print a line for whoever typed the command, to standard error: standard output is for results."""
    harmless = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    print(harmless, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str) -> Iterator[Bar]:
    """Show how far work has come, on a terminal only; yields what is told how many of how many are done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield Bar(shown, shown.add_task(what, total=None, note=""))


def sparkline(counts: Sequence[int]) -> str:
    """Return counts as bars, the highest for the greatest; the lowest is kept for none at all."""
    highest = max(counts, default=0)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-count * steps // highest) if count else 0] for count in counts)


def _print(table: Table) -> None:
    if sys.stdout.isatty():
        Console().print(table)
        return
    console = Console(width=_WIDE)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _plain(value: object) -> object:
    match value:
        case datetime():
            return format_time(value)
        case date():
            return value.isoformat()
        case bytes():
            return value.decode(errors="replace")
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return format_time(value.replace(microsecond=0))
        case list() | tuple():
            return "\n".join(map(_cell, value))
        case Mapping():
            return json.dumps(value, default=_plain, ensure_ascii=False)
        case _:
            text = _plain(value) if isinstance(value, bytes) else value
            return "".join(letter if letter.isprintable() else " " for letter in str(text))
