"""Recoveries that were begun at a portal: how far each is, and how it ended.

A recovery runs in one portal, which renews its row every second or so (`beat`). One that was not renewed for
`LOST` has failed, whoever looks at it: its portal died, or hangs. An endpoint has one at a time, whatever
portals there are.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    delete,
    literal,
    select,
    tuple_,
    update,
)

from claimbus.database.audit import Act
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import milliseconds, recoveries
from claimbus.database.statements import insert_new
from claimbus.events.errors import InvalidInputError

LOST: Final = timedelta(seconds=30)
"""How old the last sign of a running one may be: portals' clocks may differ, and a database may be slow."""

WHY_LOST: Final = "the portal that ran it stopped; what was not sent may be recovered again"

State = Literal["running", "done", "failed", "stopped"]

_column: Final = recoveries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A recovery as it is now: ``read`` of ``total`` journal entries (0 until it is known).

    ``recovered`` has the figures once it is ``done``; ``why`` tells what broke off one that ``failed``, or
    who ``stopped`` it: what was not sent by then may be recovered again. Its portal gave its last sign at
    ``beat_at``.
    """

    id: str
    endpoint_id: str
    participant_id: str
    actor: str
    reason: str
    since: datetime
    until: datetime | None
    type: str | None
    everything: bool
    begun_at: datetime
    beat_at: datetime
    state: State = "running"
    ended_at: datetime | None = None
    read: int = 0
    total: int = 0
    recovered: Mapping[str, Any] | None = None
    why: str = ""


def begin(connection: Connection, recovery: Recovery) -> None:
    """Add one. Raises DuplicateError while another one runs for the endpoint."""
    lost = (_column.state == "running") & (_column.beat_at <= recovery.begun_at - LOST)
    failed = {"state": "failed", "ended_at": _column.beat_at, "why": WHY_LOST}
    connection.execute(
        update(recoveries).where(_column.endpoint_id == recovery.endpoint_id, lost).values(failed)
    )
    if not insert_new(connection, recoveries, asdict(recovery)):
        raise DuplicateError("endpoint", "is being recovered already")


def beat(connection: Connection, recovery_id: str, *, read: int, total: int, now: datetime) -> bool:
    """Tell how far one is, and that its portal lives. False for one that was stopped or lost: give it up."""
    lives = _lives(now)
    values = {"read": read, "total": total, "beat_at": now}
    return bool(
        connection.execute(update(recoveries).where(_column.id == recovery_id, lives).values(values)).rowcount
    )


def stop(connection: Connection, recovery_id: str, act: Act) -> None:
    """Stop one, whatever portal runs it: that gives it up at its next `beat`.

    Raises NotFoundError, and InvalidInputError for one that has ended.
    """
    values = {"state": "stopped", "ended_at": act.at, "why": f"stopped by {act.actor}"}
    running = update(recoveries).where(_column.id == recovery_id, _lives(act.at))
    if not connection.execute(running.values(values)).rowcount:
        raise InvalidInputError(
            "recovery", f"does not run any more: it is {get(connection, recovery_id).state}"
        )


def end(connection: Connection, ended: Recovery) -> None:
    """Tell how one ended, unless it was stopped or given up for lost meanwhile."""
    names = ("state", "ended_at", "read", "total", "recovered", "why")
    running = update(recoveries).where(_column.id == ended.id, _column.state == "running")
    connection.execute(running.values({name: getattr(ended, name) for name in names}))


def get(connection: Connection, recovery_id: str) -> Recovery:
    """Return one. Raises NotFoundError."""
    row = connection.execute(select(recoveries).filter_by(id=recovery_id)).mappings().first()
    if row is None:
        raise NotFoundError("recovery", f"there is no recovery {recovery_id!r:.60}")
    return _recovery(row, datetime.now(UTC))


def find(
    connection: Connection,
    *,
    participant_ids: Collection[str] | None = None,
    endpoint_id: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Recovery]:
    """Return those that pass every filter given, the newest first."""
    query = select(recoveries)
    if participant_ids is not None:
        query = query.where(_column.participant_id.in_(participant_ids))
    if endpoint_id is not None:
        query = query.where(_column.endpoint_id == endpoint_id)
    if cursor is not None:
        number, _, last_id = cursor.partition("-")
        (begun,) = whole_numbers(number, 1)
        key = tuple_(_column.begun_at, _column.id)
        query = query.where(key < tuple_(literal(begun, BigInteger), last_id))
    newest = query.order_by(_column.begun_at.desc(), _column.id.desc()).limit(limit + 1)
    now = datetime.now(UTC)
    found = [_recovery(row, now) for row in connection.execute(newest).mappings()]
    return Page.cut(found, limit, lambda last: f"{milliseconds(last.begun_at)}-{last.id}")


def forget(connection: Connection, before: datetime, *, limit: int = 5000) -> int:
    """Delete recoveries that were begun before a moment, and do not run, at most so many; return how many.

    Repeat it, each time in a transaction of its own, until it returns 0.
    """
    old = select(_column.id).where(_column.begun_at < before, _column.beat_at < before).limit(limit)
    return connection.execute(delete(recoveries).where(_column.id.in_(old))).rowcount


def _lives(now: datetime) -> ColumnElement[bool]:
    return (_column.state == "running") & (_column.beat_at > now - LOST)


def _recovery(row: RowMapping, now: datetime) -> Recovery:
    found = Recovery(**row)
    if found.state == "running" and found.beat_at <= now - LOST:
        return replace(found, state="failed", ended_at=found.beat_at, why=WHY_LOST)
    return found
