"""What a run of many faults has found: a table for a terminal, one for the docs, a line of JSON."""

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from tests.chaos.fault import Row

COLUMNS: Final = (
    "fault",
    "what",
    "injected",
    "events",
    "deliveries",
    "lost",
    "leaked",
    "duplicates",
    "disordered",
    "dead letters",
    "without body",
    "forgotten",
    "recovery s",
    "remarks",
)
WORDS: Final = {"fault", "what", "remarks"}
FOR_DOCS: Final = (
    "fault",
    "what",
    "injected",
    "events",
    "lost",
    "leaked",
    "disordered",
    "without body",
    "duplicates",
    "recovery s",
)
BEGIN, END = "<!-- chaos -->", "<!-- /chaos -->"
"""Between these a page has what one run found."""


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells; the figures of a fault that was not run are dashes."""
    if row.not_run or row.failed:
        why = f"not run: {row.not_run}" if row.not_run else f"failed: {row.failed}"
        return row.name, row.what, *("-" for _ in range(len(COLUMNS) - 3)), why
    counts = (
        row.injected,
        row.events,
        row.deliveries,
        row.lost,
        row.leaked,
        row.duplicates,
        row.disordered,
        row.letters,
        row.bodiless,
        row.forgotten,
    )
    return (
        row.name,
        row.what,
        *(f"{one:,}" for one in counts),
        f"{row.recovery_s:.1f}",
        "; ".join(row.remarks),
    )


def table(rows: Sequence[Row]) -> Table:
    """Return a table for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        if column in WORDS:
            shown.add_column(column, overflow="fold")
        else:
            shown.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(*map(Text, cells(row)), style="" if row.harmless else "bold red")
    return shown


def write(rows: Sequence[Row], command: str, file: Path) -> None:
    """Write what a run found to a file in Markdown; into its section for that, if it has one.

    ``command`` repeats the run.
    """
    found = markdown(rows, command)
    page = file.read_text() if file.exists() else ""
    if BEGIN in page:
        section = f"{BEGIN}\n\n{found}\n{END}"
        found = re.sub(f"{BEGIN}.*?{END}", lambda _: section, page, flags=re.DOTALL)
    file.write_text(found)


def markdown(rows: Sequence[Row], command: str) -> str:
    """Return a table in Markdown: above it where and how it was found, below it the sums and the remarks."""
    where = f"{os.cpu_count()} processors, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    found = [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows]
    lines = [
        FOR_DOCS,
        tuple("---" if column in WORDS else "--:" for column in FOR_DOCS),
        *(tuple(row[column] for column in FOR_DOCS) for row in found),
    ]
    remarks = [f"- `{row['fault']}`: {row['remarks']}" for row in found if row["remarks"]]
    parts = (
        f"*`{command}`; {where}.*",
        "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines),
        summary(rows),
        "\n".join(map(_escaped, remarks)),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def outcome(row: Row) -> str:
    """Say in a few words how a fault ended."""
    return (
        f"{row.events:,} events, {row.lost} lost, {row.leaked} leaked, {row.duplicates} duplicates,"
        f" recovered in {row.recovery_s:.1f} s"
    )


def summary(rows: Sequence[Row]) -> str:
    """Say in one line what it comes to."""
    sums = _sums(rows)
    left = {
        "not run": sum(bool(row.not_run) for row in rows),
        "failed": sum(bool(row.failed) for row in rows),
    }
    return (
        f"{sums['faults']} faults, injected {sums['injected']:,} times into {sums['events']:,} events"
        f" ({sums['deliveries']:,} deliveries): {sums['lost']} lost, {sums['leaked']} leaked,"
        f" {sums['disordered']} out of order, {sums['bodiless']} of {sums['letters']:,} dead letters without"
        f" body, {sums['duplicates']:,} duplicates"
        + "".join(f"; {count} {what}" for what, count in left.items() if count)
    )


def as_json(rows: Sequence[Row]) -> str:
    """Return what it comes to as one line of JSON."""
    sums = _sums(rows)
    told = ("faults", "injected", "events", "lost", "leaked", "duplicates")
    return json.dumps({name: sums[name] for name in told})


def _sums(rows: Sequence[Row]) -> Counter[str]:
    """Return what all counts come to, ``faults`` too, without those that were not run."""
    sums: Counter[str] = Counter()
    for row in rows:
        if not row.not_run and not row.failed:
            sums["faults"] += 1
            sums.update({name: count for name, count in asdict(row).items() if isinstance(count, int)})
    return sums
