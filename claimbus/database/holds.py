"""The history of holds: when an endpoint was held, released or disabled, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, insert, select

from claimbus.database.schema import hold_events


@dataclass(frozen=True, slots=True)
class HoldEvent:
    """What happened to an endpoint."""

    endpoint_id: str
    what: Literal["held", "released", "disabled"]
    at: datetime
    reason: str


def record(connection: Connection, event: HoldEvent) -> None:
    """Add to an endpoint's history."""
    values = {"endpoint_id": event.endpoint_id, "what": event.what, "at": event.at, "reason": event.reason}
    connection.execute(insert(hold_events), values)


def find(
    connection: Connection,
    *,
    endpoint_id: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> tuple[HoldEvent, ...]:
    """Return what happened, newest first: to one endpoint or to all, since a moment."""
    column = hold_events.c
    query = select(column.endpoint_id, column.what, column.at, column.reason)
    if endpoint_id is not None:
        query = query.where(column.endpoint_id == endpoint_id)
    if since is not None:
        query = query.where(column.at >= since)
    newest = query.order_by(column.at.desc(), column.id.desc()).limit(limit)
    return tuple(HoldEvent(*row) for row in connection.execute(newest))
