"""Events on resources that nobody owns: they wait here for an operator, body and all; never broadcast."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, literal, select, tuple_, update

from claimbus.database import audit, sealed
from claimbus.database.audit import Act, Subject
from claimbus.database.errors import NotFoundError
from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import milliseconds, parked_events
from claimbus.database.statements import insert_new
from claimbus.events.event import Audience, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A parked event without its body, whose length is ``size``. ``message_id`` is the event's identity."""

    message_id: str
    resource_id: str
    attributes: dict[str, str]
    size: int
    parked_at: datetime
    released_at: datetime | None
    released_by: str | None


def park(connection: Connection, events: Iterable[tuple[str, Event]], at: datetime) -> int:
    """Park events, each with its resource's ID; return how many are new. One that is parked stays as it is.

    The audience that an event claims to have is not kept: nobody is known to be entitled to it.
    """
    added = 0
    for resource_id, event in events:
        row = {
            "message_id": event.identity,
            "resource_id": resource_id,
            "attributes": event.attributes(),
            "size": len(event.body),
            "parked_at": at,
            "body": event.body,
        }
        added += insert_new(connection, parked_events, sealed.stored_parked(connection, row))
    return added


def find(
    connection: Connection, *, released: bool | None = False, cursor: str | None = None, limit: int = 100
) -> Page[Parked]:
    """Return parked events, newest first: those that wait, those released, or (None) both."""
    column = parked_events.c
    query = select(*(one for one in column if one is not column.body))
    if released is not None:
        query = query.where(column.released_at.is_not(None) if released else column.released_at.is_(None))
    if cursor is not None:
        number, _, last_id = cursor.partition("-")
        (last_at,) = whole_numbers(number, 1)
        last = tuple_(literal(last_at, BigInteger), last_id)
        query = query.where(tuple_(column.parked_at, column.message_id) < last)
    newest = query.order_by(column.parked_at.desc(), column.message_id.desc()).limit(limit + 1)
    rows = [row._asdict() for row in connection.execute(newest)]
    found = [Parked(**sealed.parked(connection, row)) for row in rows]
    return Page.cut(found, limit, lambda last: f"{milliseconds(last.parked_at)}-{last.message_id}")


def event(connection: Connection, message_id: str, audience: Audience) -> Event:
    """Return a parked event whole, for the audience that an operator gives it. Raises NotFoundError."""
    query = select(parked_events).filter_by(message_id=message_id)
    stored = connection.execute(query).first()
    if stored is None:
        raise NotFoundError("event", f"no event {message_id!r:.80} is parked")
    row = sealed.parked(connection, stored._asdict())
    return Event.from_attributes(row["attributes"], row["body"], audience)


def mark_released(
    connection: Connection, message_ids: Collection[str], act: Act, *, to: Collection[str]
) -> int:
    """Note who let these events go out, when, and to which participants; return how many still waited."""
    column = parked_events.c
    told: audit.State = {"to": sorted(to)}
    released = 0
    for message_id in message_ids:
        waiting = update(parked_events).where(column.message_id == message_id, column.released_at.is_(None))
        if connection.execute(waiting.values(released_at=act.at, released_by=act.actor)).rowcount:
            audit.append(connection, act, "released", Subject("parked event", message_id), after=told)
            released += 1
    return released
