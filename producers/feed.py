"""The snapshot feed: outages as they are, in the layout of the ISO's public curtailment report.

A file with a TRADE DATE column holds one snapshot a date, in order; any other file holds one, of the date in
its name (``…-report-20240110.xlsx``) if there is one. Rows with one OUTAGE MRID are one outage.

A row that cannot be read is reported and the others go on. What it would have said is unknown, so the outages
that it may belong to stay as they were (`Snapshot.unread`).

Times without an offset are local, read as RFC 5545 (section 3.3.5) has it: one that the clock shows twice is
the first, unless the end would then lie before its start; one that the clock skips counts by the offset
before the gap, so 02:30 is 03:30.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from claimbus.events.errors import InvalidFeedError, InvalidInputError
from claimbus.events.markets import PACIFIC
from claimbus.events.outages import Curtailment, Outage
from producers import cells, tables

TRADE_DATE: Final = "TRADE DATE"
STATUS: Final = "OUTAGE STATUS"
MRID: Final = "OUTAGE MRID"
NAME: Final = "RESOURCE NAME"
RESOURCE: Final = "RESOURCE ID"
TYPE: Final = "OUTAGE TYPE"
NATURE: Final = "NATURE OF WORK"
START: Final = "CURTAILMENT START DATE TIME"
END: Final = "CURTAILMENT END DATE TIME"
MW: Final = "CURTAILMENT MW"
PMAX: Final = "RESOURCE PMAX MW"
NQC: Final = "NET QUALIFYING CAPACITY MW"

COLUMNS: Final = frozenset({MRID, NAME, RESOURCE, TYPE, NATURE, START, END, MW, PMAX, NQC})
"""What a file must have, in any order; TRADE DATE and OUTAGE STATUS may be there too."""

_DAY_IN_NAME: Final = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that cannot be read: where, why, and what it names as far as that can be read."""

    file: str
    line: int
    column: str
    reason: str
    mrid: str | None = None
    resource_id: str | None = None

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, {self.column or 'row'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All outages at one time, by MRID, but for those of malformed rows.

    ``at`` is when the trade date begins or, without a date, when the file was written.
    """

    at: datetime
    date: date | None
    outages: dict[str, Outage]
    problems: tuple[RowProblem, ...] = ()

    def unread(self, before: Mapping[str, Outage]) -> frozenset[str]:
        """Return the MRIDs about which this snapshot, coming after ``before``, cannot be trusted.

        A malformed row puts its outage in doubt; if it names none, all outages of its resource; if it does
        not name that either, every outage that vanished.
        """
        doubtful = {problem.mrid for problem in self.problems if problem.mrid is not None}
        nameless = [problem.resource_id for problem in self.problems if problem.mrid is None]
        if nameless:
            known = {**before, **self.outages}
            doubtful |= {mrid for mrid, outage in known.items() if outage.resource_id in nameless}
        if None in nameless:
            doubtful |= before.keys() - self.outages.keys()
        return frozenset(doubtful)


def read(
    file: Path, *, timezone: str = PACIFIC, at: datetime | None = None, allow_empty: bool = False
) -> Iterator[Snapshot]:
    """Yield the snapshots of a csv, csv.gz or xlsx file, each as soon as it is complete.

    ``at`` is the time of a snapshot without a TRADE DATE column, whatever the file's name and age.
    Raises InvalidFeedError for a file that must not be believed: unreadable, truncated, without a column,
    with dates out of order, with a date of which no row can be read, or (unless ``allow_empty``) with no rows
    at all. The snapshots before that place have been yielded by then; they are complete.
    """
    zone = ZoneInfo(timezone)
    whole_file = _day_in_name(file) if at is None else None
    batch: _Batch | None = None
    undated: list[RowProblem] = []
    for line, row in tables.read(file, COLUMNS):
        if _is_note(row):
            continue
        try:
            day = cells.day(row, TRADE_DATE) if TRADE_DATE in row else whole_file
        except InvalidInputError as wrong:
            undated.append(_problem(file, line, row, wrong))
            continue
        if batch is None or day != batch.day:
            if batch is not None:
                yield batch.snapshot(undated, at)
                if day is not None and batch.day is not None and day < batch.day:
                    raise InvalidFeedError(file.name, f"line {line}: {day} comes after {batch.day}")
            batch = _Batch(file, zone, day, undated)
            undated = []
        batch.add(line, row)
    if batch is not None:
        yield batch.snapshot(undated, at)
    elif undated:
        raise InvalidFeedError(file.name, f"no row has a {TRADE_DATE} that can be read")
    elif allow_empty:
        yield Snapshot(at or _time_of(file, whole_file, zone), whole_file, {})
    else:
        raise InvalidFeedError(file.name, "is empty: no outage at all is not believed unless told so")


class _Entry(NamedTuple):
    """A row of an outage. The greatest is the latest, whose facts hold for the outage."""

    curtailment: Curtailment
    resource_id: str
    resource_name: str
    outage_type: str
    nature_of_work: str
    status: str
    pmax_mw: float
    net_qualifying_capacity_mw: float


class _Batch:
    """The rows of one snapshot as they come in."""

    def __init__(self, file: Path, zone: ZoneInfo, day: date | None, problems: list[RowProblem]) -> None:
        self.day = day
        self._file = file
        self._zone = zone
        self._problems = list(problems)
        self._entries: dict[str, list[_Entry]] = {}

    def add(self, line: int, row: tables.Row) -> None:
        """Take a row in, as part of its outage or as a problem."""
        try:
            mrid = _mrid(row)
            entry = _entry(row, self._zone)
            entries = self._entries.setdefault(mrid, [])
            _check_same_resource(entry, entries)
        except InvalidInputError as wrong:
            self._problems.append(_problem(self._file, line, row, wrong))
        else:
            entries.append(entry)

    def snapshot(self, undated: list[RowProblem], at: datetime | None) -> Snapshot:
        """Return the snapshot; ``undated`` are problems that may be of this day or of the next."""
        problems = tuple(dict.fromkeys([*self._problems, *undated]))
        malformed = {problem.mrid for problem in problems}
        outages = {
            mrid: _outage(mrid, entries) for mrid, entries in self._entries.items() if mrid not in malformed
        }
        if not outages:
            reason = f"no row of {self.day or 'it'} can be read, the first because of {problems[0]}"
            raise InvalidFeedError(self._file.name, reason)
        if self.day is not None or at is None:
            at = _time_of(self._file, self.day, self._zone)
        return Snapshot(at, self.day, outages, problems)


def _check_same_resource(entry: _Entry, entries: list[_Entry]) -> None:
    if entries and entries[0].resource_id != entry.resource_id:
        raise InvalidInputError(RESOURCE, f"is not {entries[0].resource_id}, as in a row before")


def _outage(mrid: str, entries: list[_Entry]) -> Outage:
    facts = max(entries)._asdict()
    del facts["curtailment"]
    facts["status"] = facts["status"] or None
    return Outage(mrid=mrid, curtailments=tuple(entry.curtailment for entry in entries), **facts)


def _entry(row: tables.Row, zone: ZoneInfo) -> _Entry:
    if "" in row:
        raise InvalidInputError("", "has more cells than the header")
    start, end = cells.moment(row, START, zone), cells.moment(row, END, zone)
    if end < start:
        end = cells.moment(row, END, zone, fold=1)
    if end < start:
        raise InvalidInputError(END, "is before the start")
    return _Entry(
        curtailment=Curtailment(start, end, cells.megawatts(row, MW)),
        resource_id=_resource_id(row),
        resource_name=cells.text(row, NAME, longest=256),
        outage_type=cells.text(row, TYPE),
        nature_of_work=cells.text(row, NATURE),
        status="" if row.get(STATUS) is None else cells.text(row, STATUS),
        pmax_mw=cells.megawatts(row, PMAX),
        net_qualifying_capacity_mw=cells.megawatts(row, NQC),
    )


def _is_note(row: tables.Row) -> bool:
    """Tell a blank line or a remark from a row of an outage that has lost its name."""
    filled = sum(value is not None for value in row.values())
    return filled == 0 or (filled == 1 and row[MRID] is None and row[RESOURCE] is None)


def _problem(file: Path, line: int, row: tables.Row, wrong: InvalidInputError) -> RowProblem:
    def known(read: Callable[[tables.Row], str]) -> str | None:
        try:
            return read(row)
        except InvalidInputError:
            return None

    return RowProblem(file.name, line, wrong.field, wrong.reason, known(_mrid), known(_resource_id))


def _mrid(row: tables.Row) -> str:
    mrid = cells.text(row, MRID)
    if not mrid.isascii() or " " in mrid:
        raise InvalidInputError(MRID, f"{mrid!r} has a space or a letter that is not ASCII")
    return mrid


def _resource_id(row: tables.Row) -> str:
    return cells.text(row, RESOURCE)


def _day_in_name(file: Path) -> date | None:
    found = _DAY_IN_NAME.search(file.name)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _time_of(file: Path, day: date | None, zone: ZoneInfo) -> datetime:
    if day is None:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return datetime.combine(day, time(), zone).astimezone(UTC)
