"""The curtailment report, read once more without the product, for `claimbus.cli.demo.expectation`.

Times without an offset are local to Los Angeles: one that the clock shows twice is the first, unless the end
would lie before its start; one that the clock skips counts by the offset before the gap. All are kept in UTC.
"""

import csv
import gzip
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import openpyxl

ZONE: Final = ZoneInfo("America/Los_Angeles")
SHEET: Final = "PREV_DAY_OUTAGES"
"""The sheet of the published workbook; of another workbook the first sheet is read."""

_TEXTS = ("RESOURCE NAME", "RESOURCE ID", "OUTAGE TYPE", "NATURE OF WORK", "OUTAGE STATUS")
_RESOURCE, _STATUS = _TEXTS.index("RESOURCE ID"), _TEXTS.index("OUTAGE STATUS")
_LIMITS = ("RESOURCE PMAX MW", "NET QUALIFYING CAPACITY MW")
_START, _END = "CURTAILMENT START DATE TIME", "CURTAILMENT END DATE TIME"
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")


class Row(NamedTuple):
    """A row of the report: a curtailment, and the columns of `_TEXTS` and `_LIMITS`."""

    start: datetime
    end: datetime
    megawatts: float
    texts: tuple[str, ...]
    limits: tuple[float, ...]


class Outage(NamedTuple):
    """What one snapshot says of an outage; two that are equal say the same.

    Its ``texts`` and ``limits`` are those of the row that starts last. The curtailments (start, end, MW) are
    a set: their order in the file means nothing.
    """

    texts: tuple[str, ...]
    limits: tuple[float, ...]
    curtailments: frozenset[tuple[datetime, datetime, float]]

    @property
    def resource_id(self) -> str:
        """The resource that it is an outage of."""
        return self.texts[_RESOURCE]

    @property
    def status(self) -> str:
        """Its status, empty in a report that tells none."""
        return self.texts[_STATUS]

    @property
    def end(self) -> datetime:
        """Its latest curtailment end."""
        return max(end for _, end, _ in self.curtailments)


@dataclass
class Snapshot:
    """All outages of one trade date by MRID.

    ``at`` is when that date begins; of a report that tells no date, when its file was written. ``malformed``
    has the MRID and the resource ID of each malformed row, empty where it does not say.
    """

    trade_date: date
    at: datetime
    outages: dict[str, Outage] = field(default_factory=dict)
    malformed: list[tuple[str, str]] = field(default_factory=list)

    def doubts(self, mrid: str, resource_id: str, *, vanished: bool = False) -> bool:
        """Tell whether a malformed row may have spoken of this outage, which then stays as it was."""
        return any(
            mrid == named if named else resource_id == of if of else vanished for named, of in self.malformed
        )


def midnight(day: date) -> datetime:
    """Return when a trade date begins, in UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def read_report(paths: Iterable[Path], days: int | None = None) -> list[Snapshot]:
    """Read the snapshots of csv, csv.gz or xlsx files by trade date, at most the first ``days``.

    The trade date is in a column, or for the whole file in its name; else the file's age tells it.
    """
    snapshots: dict[date, Snapshot] = {}
    for path in paths:
        rows: dict[tuple[date, str], list[Row]] = defaultdict(list)
        for at, cells in _records(path):
            trade_date = at.astimezone(ZONE).date()
            snapshot = snapshots.setdefault(trade_date, Snapshot(trade_date, at))
            mrid = _text(cells.get("OUTAGE MRID"))
            try:
                row = _row(cells)
            except ValueError:
                snapshot.malformed.append((mrid, _text(cells.get("RESOURCE ID"))))
            else:
                rows[trade_date, mrid].append(row)
        for (trade_date, mrid), found in rows.items():
            outage = _outage(found)
            if any(row.texts[_RESOURCE] != outage.resource_id for row in found):
                snapshots[trade_date].malformed.append((mrid, ""))  # an outage of two resources
            snapshots[trade_date].outages[mrid] = outage
    return [snapshots[day] for day in sorted(snapshots)[:days]]


def _records(path: Path) -> Iterator[tuple[datetime, dict[str, object]]]:
    """Yield when each row holds, and its cells by the names of their columns."""
    named = _DATE_IN_NAME.search(path.name)
    if named:
        whole_file = midnight(date(*map(int, named.groups())))
    else:
        whole_file = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    header: list[str] = []
    for line in _lines(path):
        if not header:
            names = [_text(cell) for cell in line]
            header = names if "OUTAGE MRID" in names else []
        elif sum(cell is not None and cell != "" for cell in line) > 1:  # one alone is a remark
            cells = {name: cell for name, cell in zip(header, line, strict=False) if name}
            dated = "TRADE DATE" in cells
            yield midnight(_local(cells["TRADE DATE"]).date()) if dated else whole_file, cells


def _lines(path: Path) -> Iterator[Sequence[object]]:
    if path.suffix == ".xlsx":
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = SHEET if SHEET in workbook.sheetnames else workbook.sheetnames[0]
            yield from workbook[sheet].iter_rows(values_only=True)
        finally:
            workbook.close()
    else:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
            yield from csv.reader(file)


def _row(cells: Mapping[str, object]) -> Row:
    """Read a row. Raises ValueError for one that cannot be meant."""
    texts = tuple(_text(cells.get(name)) for name in _TEXTS)
    if not _text(cells.get("OUTAGE MRID")) or not all(texts[:4]):
        raise ValueError("an outage has an MRID, a resource, a type and a nature of work")
    start, end = _moment(cells.get(_START)), _moment(cells.get(_END))
    if end < start:
        end = _moment(cells.get(_END), fold=1)
    if end < start:
        raise ValueError("it ends before it starts")
    limits = tuple(_megawatts(cells.get(name)) for name in _LIMITS)
    return Row(start, end, _megawatts(cells.get("CURTAILMENT MW")), texts, limits)


def _outage(rows: Collection[Row]) -> Outage:
    latest = max(rows)
    return Outage(latest.texts, latest.limits, frozenset(row[:3] for row in rows))


def _text(cell: object) -> str:
    return "" if cell is None else " ".join(str(cell).split())


def _local(cell: object) -> datetime:
    return cell if isinstance(cell, datetime) else datetime.fromisoformat(_text(cell))


def _moment(cell: object, fold: int = 0) -> datetime:
    """Return a time in UTC; of a local one that the clock shows twice, ``fold`` tells which."""
    moment = _local(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZONE, fold=fold)).astimezone(UTC)


def _megawatts(cell: object) -> float:
    size = float(_text(cell))
    if not 0 <= size < math.inf:
        raise ValueError(f"{size} is no amount of MW")
    return size
