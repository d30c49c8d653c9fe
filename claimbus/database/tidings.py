"""What the contacts of organisations are to be told, and how far they were told it.

It stands in two tables, each numbered as it grows: holds, and the audit. A reader's place is the last number
it has told of each. One process at a time tells for a reader, by a lease; it calls `take`, tells, and only
then calls `done`: what happens is told at least once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, Row, and_, func, or_, select, text, update

from claimbus.database.schema import audit_entries, endpoints, hold_events, participants, tidings
from claimbus.database.statements import insert_new

What = Literal["held", "released", "disabled", "paused", "active", "pending", "certificate"]
"""What an endpoint became; or that a certificate nears its end."""

AT_ONCE: Final = 1000
"""Rows of each table that are taken at once."""

_STATES: Final = ("active", "paused", "disabled", "pending")
_TURNS: Final = {
    f"{before} to {after}": after
    for before in _STATES
    for after in _STATES
    if {before, after} & {"paused", "disabled"}
}
"""The audit's actions that are told, and what the endpoint is after them."""

_WRITING: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'RowExclusiveLock' AND granted"
    " AND relation IN ('audit_entries'::regclass, 'hold_events'::regclass)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


class Place(NamedTuple):
    """The last row of the audit and of the holds that was told."""

    entry_id: int
    hold_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiding:
    """Something to tell an organisation. ``key`` is its own among those of the organisation.

    ``title`` is a certificate's notice's, and ``reason`` its text then; the other names are an endpoint's.
    """

    key: str
    organisation_id: str
    what: What
    at: datetime
    reason: str
    title: str = ""
    endpoint_id: str = ""
    endpoint_name: str = ""
    participant_id: str = ""


class Taken(NamedTuple):
    """What to tell, in the order of its happening, and the place after it."""

    tidings: tuple[Tiding, ...]
    place: Place


class Waiting(NamedTuple):
    """Since when something waits to be told (None: nothing), and how many numbers lie after the place."""

    since: datetime | None
    rows: int


def begin(connection: Connection, reader: str) -> None:
    """Let a new reader begin at what happens from now on; one that is known stays where it is."""
    insert_new(connection, tidings, {"reader": reader, **_newest(connection)._asdict()})


def waiting(connection: Connection, reader: str) -> Waiting | None:
    """Look what there is to tell, which is cheap if there is nothing. None: the reader has to `begin`."""
    place, newest = _place(connection, reader), _newest(connection)
    if place is None:
        return None
    first = _entries(connection, place, newest, 1), _holds(connection, place, newest, 1)
    since = min((row.at for rows in first for row in rows), default=None)
    return Waiting(since, sum(newest) - sum(place))


def take(
    connection: Connection, reader: str, owner: str, now: datetime, *, lease_s: float, at_once: int = AT_ONCE
) -> Taken | None:
    """Lease a reader's place and return what follows it; call it in a writing transaction.

    None: another process tells, or somebody writes at this moment whose rows could be numbered below those
    that are seen already.
    """
    column = tidings.c
    is_free = or_(column.owner == owner, column.leased_until.is_(None), column.leased_until <= now)
    lease = {"owner": owner, "leased_until": now + timedelta(seconds=lease_s)}
    if not connection.execute(update(tidings).where(column.reader == reader, is_free).values(lease)).rowcount:
        return None
    place, newest = _place(connection, reader) or Place(0, 0), _newest(connection)
    if _is_being_written(connection):  # asked after the newest, as PostgreSQL sees others' commits meanwhile
        return None
    entries, holds = _entries(connection, place, newest, at_once), _holds(connection, place, newest, at_once)
    found = [*_of_holds(connection, holds), *_of_entries(connection, entries)]
    reached = Place(
        entries[-1].id if len(entries) == at_once else newest.entry_id,
        holds[-1].id if len(holds) == at_once else newest.hold_id,
    )
    return Taken(tuple(sorted(found, key=lambda one: one.at)), reached)


def renew(connection: Connection, reader: str, owner: str, now: datetime, *, lease_s: float) -> bool:
    """Lengthen the lease; tell whether it still was the owner's."""
    until = now + timedelta(seconds=lease_s)
    kept = update(tidings).filter_by(reader=reader, owner=owner).values(leased_until=until)
    return bool(connection.execute(kept).rowcount)


def done(connection: Connection, reader: str, owner: str, place: Place) -> bool:
    """Move to a place up to which all was told, and give the lease up; tell whether it was the owner's."""
    moved = update(tidings).filter_by(reader=reader, owner=owner)
    return bool(connection.execute(moved.values(**place._asdict(), owner=None, leased_until=None)).rowcount)


def release(connection: Connection, reader: str, owner: str) -> None:
    """Give the lease up, if it is the owner's, so that another need not wait for its end."""
    kept = update(tidings).filter_by(reader=reader, owner=owner)
    connection.execute(kept.values(owner=None, leased_until=None))


def _place(connection: Connection, reader: str) -> Place | None:
    query = select(tidings.c.entry_id, tidings.c.hold_id).filter_by(reader=reader)
    row = connection.execute(query).first()
    return None if row is None else Place(*row)


def _newest(connection: Connection) -> Place:
    newest = (select(func.max(table.c.id)).scalar_subquery() for table in (audit_entries, hold_events))
    return Place(*(number or 0 for number in connection.execute(select(*newest)).one()))


def _is_being_written(connection: Connection) -> bool:
    """Tell whether rows may yet appear below the newest: SQLite has one writer, and that is this one."""
    return connection.dialect.name == "postgresql" and bool(connection.execute(_WRITING).scalar_one())


def _entries(connection: Connection, place: Place, to: Place, limit: int) -> Sequence[Row[Any]]:
    column = audit_entries.c
    told = or_(
        and_(column.kind == "endpoint", column.action.in_(_TURNS)),
        and_(column.kind == "certificate notice", column.action == "told"),
    )
    within = and_(column.id > place.entry_id, column.id <= to.entry_id)
    return connection.execute(
        select(audit_entries).where(within, told).order_by(column.id).limit(limit)
    ).all()


def _holds(connection: Connection, place: Place, to: Place, limit: int) -> Sequence[Row[Any]]:
    column = hold_events.c  # that an endpoint was disabled is in the audit, whoever did it
    told = and_(column.what != "disabled", column.id > place.hold_id, column.id <= to.hold_id)
    return connection.execute(select(hold_events).where(told).order_by(column.id).limit(limit)).all()


def _of_holds(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Tiding]:
    names = _names(connection, {row.endpoint_id for row in rows})
    for row in rows:
        if row.endpoint_id in names:
            yield Tiding(
                key=f"hold {row.id}", what=row.what, at=row.at, reason=row.reason, **names[row.endpoint_id]
            )


def _of_entries(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Tiding]:
    names = _names(connection, {row.object_id for row in rows if row.kind == "endpoint"})
    for row in rows:
        key = f"entry {row.id}"
        if row.object_id in names:
            yield Tiding(
                key=key, what=_TURNS[row.action], at=row.at, reason=row.reason, **names[row.object_id]
            )
        elif row.kind == "certificate notice":
            title, reason = (
                row.after.get("title", "A certificate nears its end"),
                row.after.get("text", row.reason),
            )
            for organisation_id in _owners(connection, row.after["participants"]):
                yield Tiding(
                    key=key,
                    organisation_id=organisation_id,
                    what="certificate",
                    at=row.at,
                    reason=reason,
                    title=title,
                )


def _names(connection: Connection, endpoint_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    column = endpoints.c
    query = (
        select(
            column.id.label("endpoint_id"),
            column.name.label("endpoint_name"),
            column.participant_id,
            participants.c.organisation_id,
        )
        .join(participants, participants.c.id == column.participant_id)
        .where(column.id.in_(endpoint_ids))
    )
    return {row["endpoint_id"]: dict(row) for row in connection.execute(query).mappings()}


def _owners(connection: Connection, participant_ids: Sequence[str]) -> Sequence[str]:
    column = participants.c
    query = select(column.organisation_id).where(column.id.in_(participant_ids)).distinct()
    return connection.execute(query.order_by(column.organisation_id)).scalars().all()
