"""How endpoints fared lately, counted from the attempts: by the hour for some, of late for all together.

By the hour the attempts' index alone is read. What neither arrived nor failed (superseded) counts as neither.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from claimbus.database.holds import HoldEvent
from claimbus.database.schema import attempts, endpoints, hold_events, milliseconds, moment_of
from claimbus.database.statements import portions

HOUR_MS: Final = 3_600_000

LOOK_BACK: Final = 100
"""Attempts of an endpoint among which its last delivery is looked for."""

_column: Final = attempts.c
_arrived: Final = _column.verdict == "delivered"
_failed: Final = _column.verdict.not_in(("delivered", "superseded"))


class Counted(NamedTuple):
    """An endpoint's attempts of an hour, and when the last one of either kind began, if there was any."""

    endpoint_id: str
    hour: datetime
    delivered: int
    failed: int
    last_delivered: datetime | None
    last_failed: datetime | None


class Lately(NamedTuple):
    """All endpoints' attempts of a while: how many of either kind, and how many deliveries took so long."""

    delivered: int
    failed: int
    durations: dict[int, int]


def by_hour(connection: Connection, endpoint_ids: Collection[str], since: datetime) -> list[Counted]:
    """Count these endpoints' attempts from a moment on, by hours (UTC); hours without any are left out."""
    hour: ColumnElement[int] = (_column.started_ms // HOUR_MS).label("hour")
    query = (
        select(
            _column.endpoint_id,
            hour,
            func.count().filter(_arrived),
            func.count().filter(_failed),
            func.max(_column.started_ms).filter(_arrived),
            func.max(_column.started_ms).filter(_failed),
        )
        .where(_column.started_ms >= milliseconds(since))
        .group_by(_column.endpoint_id, "hour")
    )
    return [
        Counted(
            endpoint_id, moment_of(number * HOUR_MS), arrived, failed, _moment(last), _moment(last_failed)
        )
        for some in portions(endpoint_ids)
        for endpoint_id, number, arrived, failed, last, last_failed in connection.execute(
            query.where(_column.endpoint_id.in_(some))
        )
    ]


def last_deliveries(
    connection: Connection, endpoint_ids: Collection[str], before: datetime
) -> dict[str, datetime]:
    """Return when the last delivery to each began, of its last `LOOK_BACK` attempts before a moment."""
    newest = (
        select(_column.started_ms, _column.verdict)
        .where(_column.endpoint_id == endpoints.c.id, _column.started_ms < milliseconds(before))
        .order_by(_column.started_ms.desc())
        .limit(LOOK_BACK)
        .correlate(endpoints)
        .subquery()
    )
    last = select(func.max(newest.c.started_ms)).where(newest.c.verdict == "delivered").scalar_subquery()
    query = select(endpoints.c.id, last)
    return {
        endpoint_id: moment_of(started_ms)
        for some in portions(endpoint_ids)
        for endpoint_id, started_ms in connection.execute(query.where(endpoints.c.id.in_(some)))
        if started_ms is not None
    }


def lately(connection: Connection, since: datetime) -> Lately:
    """Count all attempts from a moment on; durations are in milliseconds. It reads them all: a minute's."""
    query = (
        select(_column.duration_ms, func.count().filter(_arrived), func.count().filter(_failed))
        .where(_column.started_ms >= milliseconds(since))
        .group_by(_column.duration_ms)
    )
    rows = connection.execute(query).all()
    durations = {duration: arrived for duration, arrived, _ in rows if arrived}
    return Lately(sum(durations.values()), sum(failed for _, _, failed in rows), durations)


def newest_deliveries(connection: Connection, since: datetime, limit: int) -> list[tuple[str, int]]:
    """Return the newest deliveries that the first attempt made, from a moment on, at most so many.

    Of each the message's ID and when its answer came, in milliseconds since the epoch.
    """
    query = (
        select(_column.message_id, _column.started_ms + _column.duration_ms)
        .where(_column.started_ms >= milliseconds(since), _arrived)
        .where(_column.attempt == 1, _column.replay.is_(None))
        .order_by(_column.started_ms.desc())
        .limit(limit)
    )
    return [(message_id, answered_ms) for message_id, answered_ms in connection.execute(query)]


def last_holds(connection: Connection, endpoint_ids: Collection[str]) -> dict[str, HoldEvent]:
    """Return the newest event in the history of each endpoint that has a history."""
    column = hold_events.c
    newest = select(func.max(column.id)).group_by(column.endpoint_id)
    query = select(column.endpoint_id, column.what, column.at, column.reason)
    return {
        row.endpoint_id: HoldEvent(*row)
        for some in portions(endpoint_ids)
        for row in connection.execute(query.where(column.id.in_(newest.where(column.endpoint_id.in_(some)))))
    }


def _moment(number: int | None) -> datetime | None:
    return None if number is None else moment_of(number)
