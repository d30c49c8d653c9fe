"""What each endpoint's queue was bound to, and when: so it can be told later what should have reached it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, update

from claimbus.database.schema import bindings
from claimbus.database.statements import insert_new
from claimbus.events.routing import Binding


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding of an endpoint's queue, in a generation, from a moment on; ``bound_to`` None while it is."""

    endpoint_id: str
    generation: int
    binding: Binding
    bound_from: datetime
    bound_to: datetime | None


def record_bound(
    connection: Connection, endpoint_id: str, generation: int, new: Iterable[Binding], at: datetime
) -> None:
    """Note that the queue has these bindings from now on; those noted already stay as they are."""
    rows = [
        {"endpoint_id": endpoint_id, "generation": generation, "bound_from": at, **binding._asdict()}
        for binding in new
    ]
    insert_new(connection, bindings, *rows)


def record_unbound(
    connection: Connection, endpoint_id: str, generation: int, gone: Iterable[Binding], at: datetime
) -> None:
    """Note that the queue has these bindings no longer."""
    ended = (
        update(bindings)
        .filter_by(endpoint_id=endpoint_id, generation=generation, bound_to=None)
        .where(bindings.c.exchange == bindparam("from_exchange"), bindings.c.key == bindparam("with_key"))
        .values(bound_to=at)
    )
    rows = [{"from_exchange": binding.exchange, "with_key": binding.key} for binding in gone]
    if rows:
        connection.execute(ended, rows)


def current(connection: Connection, endpoint_id: str | None = None) -> tuple[Bound, ...]:
    """Return the bindings that there are now, of one endpoint or of all."""
    return _find(connection, bindings.c.bound_to.is_(None), endpoint_id)


def at(connection: Connection, moment: datetime, endpoint_id: str | None = None) -> tuple[Bound, ...]:
    """Return the bindings that there were at a moment, of one endpoint or of all."""
    column = bindings.c
    held = and_(column.bound_from <= moment, or_(column.bound_to.is_(None), column.bound_to > moment))
    return _find(connection, held, endpoint_id)


def during(connection: Connection, since: datetime, until: datetime) -> tuple[Bound, ...]:
    """Return the bindings that there were at any moment of a period, of all endpoints; both ends count."""
    column = bindings.c
    lasted = or_(column.bound_to.is_(None), column.bound_to > since)
    return _find(connection, and_(column.bound_from <= until, lasted), None)


def _find(
    connection: Connection, condition: ColumnElement[bool], endpoint_id: str | None
) -> tuple[Bound, ...]:
    query = select(bindings).where(condition).order_by(bindings.c.id)
    if endpoint_id is not None:
        query = query.filter_by(endpoint_id=endpoint_id)
    return tuple(
        Bound(row.endpoint_id, row.generation, Binding(row.exchange, row.key), row.bound_from, row.bound_to)
        for row in connection.execute(query)
    )
