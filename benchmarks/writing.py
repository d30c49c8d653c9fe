"""A report as files of the documentation: its figures, its chart, and its place in ``performance.md``."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.report import Report, Sheet, shown
from benchmarks.servers import BenchmarkError

PAGE: Final = "performance.md"


def write(report: Report, docs: Path, place: Mapping[str, str | int]) -> None:
    """Write ``figures/NAME.csv`` and ``pictures/bench-NAME.svg``, and renew the page's section if it has one.

    A section lies between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``. ``place`` is the machine and
    its servers. Raises BenchmarkError when there is no such folder.
    """
    if not docs.is_dir():
        raise BenchmarkError(f"{docs} is no folder to write to")
    for folder in ("figures", "pictures"):
        (docs / folder).mkdir(exist_ok=True)
    (docs / "pictures" / f"bench-{report.name}.svg").write_text(report.chart)
    with (docs / "figures" / f"{report.name}.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("table", "row", "column", "value"))
        for sheet in report.all_sheets():
            for first, *cells in sheet.rows:
                for column, cell in zip(sheet.columns[1:], cells, strict=True):
                    rows.writerow((sheet.title, first, column or "verdict", "" if cell is None else cell))
    page = docs / PAGE
    if page.exists():
        page.write_text(renewed(page.read_text(), report, place))


def renewed(page: str, report: Report, place: Mapping[str, str | int]) -> str:
    """Return the page with the report's section renewed; the same page if it has no such section."""
    begin, end = f"<!-- bench:{report.name} -->", f"<!-- /bench:{report.name} -->"
    section = f"{begin}\n\n{markdown(report, place)}\n{end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: section, page, flags=re.DOTALL)


def markdown(report: Report, place: Mapping[str, str | int]) -> str:
    """Return a report as Markdown: where it was measured, the chart, the tables, the notes."""
    measured = ", ".join(f"{name} {value}" for name, value in place.items())
    links = f"[figures](figures/{report.name}.csv)"
    parts = [f"*{measured}; {links}.*", f"![{report.name}](pictures/bench-{report.name}.svg)"]
    parts += map(_markdown, report.all_sheets())
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts) + "\n"


def _markdown(sheet: Sheet) -> str:
    alignment = "|".join(["---", *("---:" for _ in sheet.columns[1:])])
    rows = "\n".join(f"| {' | '.join(map(shown, row))} |" for row in sheet.rows)
    return f"**{sheet.title}**\n\n| {' | '.join(sheet.columns)} |\n|{alignment}|\n{rows}"
