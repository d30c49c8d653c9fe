"""Days on which event types are deprecated and end, set by operators: they go before the catalogue's."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from sqlalchemy import Connection, delete, insert, select

from claimbus.database import audit
from claimbus.database.audit import Act, State, Subject
from claimbus.database.errors import NotFoundError
from claimbus.database.schema import type_dates
from claimbus.events import catalogue
from claimbus.events.catalogue import EVENT_TYPES, EventType, Retirement
from claimbus.events.errors import InvalidInputError


def find(connection: Connection) -> dict[str, Retirement]:
    """Return the days that were set, by event type."""
    column = type_dates.c
    query = select(column.type, column.deprecated, column.sunset).order_by(column.type)
    return {
        name: Retirement(_day(deprecated), _day(sunset))
        for name, deprecated, sunset in connection.execute(query)
    }


def types_in_force(connection: Connection) -> Mapping[str, EventType]:
    """Return the catalogue with the days that are in force; the catalogue itself if none were set."""
    found = find(connection)
    if not found:
        return EVENT_TYPES
    return {
        name: replace(kind, **found[name]._asdict()) if name in found else kind
        for name, kind in EVENT_TYPES.items()
    }


def put(connection: Connection, name: str, days: Retirement, act: Act) -> None:
    """Set the days of an event type, at least one of them.

    Raises InvalidInputError for a type that is not in the catalogue, and for an end before the deprecation.
    """
    catalogue.lookup(name)
    if days == Retirement(None, None):
        raise InvalidInputError("deprecated", "must be given, or sunset")
    if days.deprecated and days.sunset and days.sunset < days.deprecated:
        raise InvalidInputError("sunset", f"{days.sunset} is before the deprecation, {days.deprecated}")
    before = _forget(connection, name)
    if before != days:
        audit.append(
            connection,
            act,
            "dates set",
            Subject("event type", name),
            before=_state(before),
            after=_state(days),
        )
    connection.execute(insert(type_dates), {"type": name, **(_state(days) or {})})


def remove(connection: Connection, name: str, act: Act) -> None:
    """Go back to the catalogue's own days. Raises NotFoundError when no others were set."""
    before = _forget(connection, name)
    if before is None:
        raise NotFoundError("type", f"no dates were set for {name!r:.100}")
    audit.append(connection, act, "dates removed", Subject("event type", name), before=_state(before))


def _forget(connection: Connection, name: str) -> Retirement | None:
    before = find(connection).get(name)
    connection.execute(delete(type_dates).filter_by(type=name))
    return before


def _state(days: Retirement | None) -> State | None:
    if days is None:
        return None
    return {name: day and day.isoformat() for name, day in days._asdict().items()}


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
