"""Loading who owns what from an export of the ISO's access-management system.

The export is CSV with a header: organisation, participant, resource_id, valid_from, valid_to (empty, or in
the year 9999, while no end is known), and perhaps contact, an e-mail address of the organisation. It is taken
as the whole truth: what is open in the database and not in the export is closed. Reading it and taking it
over are two steps, so no transaction waits for a file.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, tzinfo
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection

from claimbus.database import audit, entitlements, names, participants
from claimbus.database.audit import Act, Subject
from claimbus.database.entitlements import Entitlement
from claimbus.events.errors import InvalidFeedError, InvalidInputError

REQUIRED: Final = ("organisation", "participant", "resource_id", "valid_from", "valid_to")


class Problem(NamedTuple):
    """A row that could not be taken, and why. Lines count from 1, the header's included."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.column}: {self.reason}"


class Row(NamedTuple):
    """A row that can be taken."""

    organisation: str
    entitlement: Entitlement
    contact: str | None


@dataclass(frozen=True, slots=True)
class Export:
    """What a file says. ``doubtful`` are the resources named in rows with a problem: they are left alone."""

    file: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    doubtful: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of the entitlements: ``changed`` got another end, ``closed`` were not in the export."""

    added: int
    changed: int
    closed: int
    unchanged: int
    problems: tuple[Problem, ...]


def read(path: Path, timezone: tzinfo) -> Export:
    """Read an export. A date is its midnight in ``timezone``, as is the time of day where no offset is given.

    Raises InvalidFeedError for a file that is no such export, or that ends within a quoted cell.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path.name, timezone)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFeedError(path.name, f"cannot be read: {error}") from error


def take_over(connection: Connection, export: Export, act: Act, *, force: bool = False) -> Imported:
    """Make the database say what the export says. The same export again changes nothing.

    An export that would close more than half of what is open, as an empty or a truncated one does, raises
    InvalidFeedError unless forced.
    """
    _take_over_owners(connection, export.rows, act)
    wanted = {row.entitlement.key: row.entitlement for row in export.rows}
    still_open = entitlements.not_ended(connection, act.at)
    gone = [one for one in still_open if one.key not in wanted and one.resource_id not in export.doubtful]
    if not force and (not wanted or len(gone) * 2 > len(still_open)):
        raise InvalidFeedError(
            export.file,
            f"has {len(wanted)} entitlements and would close {len(gone)} of {len(still_open)}: "
            "truncated? Force the import if it is right",
        )
    closed = entitlements.close(connection, gone, act)
    added, changed = entitlements.put(connection, wanted.values(), act)
    counts = {"added": added, "changed": changed, "closed": closed}
    counts["unchanged"] = len(wanted) - added - changed
    audit.append(connection, act, "imported", Subject("export", export.file), after=counts)
    return Imported(**counts, problems=export.problems)


def _take_over_owners(connection: Connection, rows: Iterable[Row], act: Act) -> None:
    there = {one.id: one.organisation_id for one in participants.find(connection)}
    owners = {row.entitlement.participant_id: row.organisation for row in rows}
    for participant, organisation in owners.items():
        if participant not in there:
            participants.add(connection, participant, organisation, act)
        elif there[participant] != organisation:
            participants.move(connection, participant, organisation, act)
    for organisation, contact in dict.fromkeys((row.organisation, row.contact) for row in rows):
        if contact is not None:
            participants.add_contact(connection, organisation, contact, act)


def _read(text: Iterable[str], file: str, timezone: tzinfo) -> Export:
    lines = csv.reader(text, strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    doubtful: set[str] = set()
    seen = _Seen()
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        for name in REQUIRED:
            if name not in header:
                raise InvalidFeedError(file, f"line 1: there is no column {name}")
        for cells in lines:
            if not any(cells):
                continue
            found = dict(zip(header, map(str.strip, cells), strict=False))
            try:
                row = _row(found, timezone)
                seen.check(row, lines.line_num)
                rows.append(row)
            except InvalidInputError as error:
                problems.append(Problem(file, lines.line_num, error.field, error.reason))
                doubtful.add(found.get("resource_id", ""))
    except csv.Error as error:
        raise InvalidFeedError(file, f"line {lines.line_num}: {error}") from error
    return Export(file, tuple(rows), tuple(problems), frozenset(doubtful))


def _row(cells: dict[str, str], timezone: tzinfo) -> Row:
    for name in REQUIRED:
        if name not in cells:
            raise InvalidInputError(name, "the row ends before it")
    names.check_name("organisation", cells["organisation"])
    names.check_participant_id(cells["participant"])
    begin = _moment("valid_from", cells["valid_from"], timezone)
    if begin is None:
        raise InvalidInputError("valid_from", "is empty")
    end = _moment("valid_to", cells["valid_to"], timezone)
    contact = cells.get("contact") or None
    if contact is not None:
        names.check_email(contact)
    entitlement = Entitlement(cells["resource_id"], cells["participant"], begin, end)
    return Row(cells["organisation"], entitlement, contact)


def _moment(column: str, text: str, timezone: tzinfo) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.year == MAXYEAR:  # how many systems write "no end"
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            column, f"{text!r:.60} is no date (YYYY-MM-DD) or time of ISO 8601"
        ) from error


class _Seen:
    """What earlier rows said, to notice a row that contradicts one."""

    def __init__(self) -> None:
        self._organisations: dict[str, tuple[str, int]] = {}
        self._ends: dict[tuple[str, str, int], tuple[int | None, int]] = {}

    def check(self, row: Row, line: int) -> None:
        one = row.entitlement
        organisation, first = self._organisations.setdefault(one.participant_id, (row.organisation, line))
        if organisation != row.organisation:
            raise InvalidInputError(
                "organisation", f"{one.participant_id} belongs to {organisation!r} in line {first}"
            )
        end, first = self._ends.setdefault(one.key, (one.end_ms, line))
        if end != one.end_ms:
            raise InvalidInputError("valid_to", f"is another in line {first}, for the same entitlement")
