"""Participants and endpoints a page at a time, by name, as people look for them."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, func, or_, select, tuple_

from claimbus.database.endpoint import Endpoint, Kind, State
from claimbus.database.endpoint_rows import current_state, load
from claimbus.database.given import among
from claimbus.database.page import Page, opaque, texts
from claimbus.database.participants import Participant
from claimbus.database.schema import endpoints as endpoints_table
from claimbus.database.schema import participants as participants_table
from claimbus.database.statements import portions

_endpoint = endpoints_table.c
_by_name = (_endpoint.participant_id, _endpoint.name, _endpoint.id)


def endpoints(
    connection: Connection,
    *,
    ids: Collection[str] | None = None,
    participant_ids: Collection[str] | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: str = "",
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Endpoint]:
    """Return endpoints that are not removed, by participant and name: those that pass every filter given.

    ``text`` is in one of their names. Raises InvalidInputError for a cursor that no page can have given out;
    whatever else it says, it leads to a place among these endpoints only.
    """
    query = select(*_by_name).where(*_conditions(participant_ids, state, kind, text))
    if ids is not None:
        query = query.where(_endpoint.id.in_(among(connection, ids)))
    if cursor is not None:
        query = query.where(tuple_(*_by_name) > tuple_(*texts(cursor, len(_by_name))))
    found = connection.execute(query.order_by(*_by_name).limit(limit + 1)).all()
    page = Page.cut(found, limit, lambda last: opaque(*last))
    return Page(many(connection, [one.id for one in page.rows]), page.cursor)


def endpoint_ids(
    connection: Connection,
    *,
    participant_ids: Collection[str] | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: str = "",
) -> list[str]:
    """Return the IDs of all endpoints that `endpoints` would return, in no order."""
    query = select(_endpoint.id).where(*_conditions(participant_ids, state, kind, text))
    return list(connection.execute(query).scalars())


def many(connection: Connection, endpoint_ids: Collection[str]) -> tuple[Endpoint, ...]:
    """Return those of these endpoints that there are, removed ones too, in the order of the IDs."""
    found = {
        one.id: one for some in portions(endpoint_ids) for one in load(connection, _endpoint.id.in_(some))
    }
    return tuple(found[one] for one in dict.fromkeys(endpoint_ids) if one in found)


def participants(
    connection: Connection,
    *,
    ids: Collection[str] | None = None,
    text: str = "",
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Participant]:
    """Return participants by ID; ``text`` is in it, or in their organisation's."""
    column = participants_table.c
    query = select(column.id, column.organisation_id, column.event_types, column.created_at)
    if ids is not None:
        query = query.where(column.id.in_(ids))
    if text:
        query = query.where(or_(_has(column.id, text), _has(column.organisation_id, text)))
    if cursor is not None:
        query = query.where(column.id > texts(cursor, 1)[0])
    found = [
        Participant(
            id=row.id,
            organisation_id=row.organisation_id,
            event_types=tuple(row.event_types),
            created_at=row.created_at,
        )
        for row in connection.execute(query.order_by(column.id).limit(limit + 1))
    ]
    return Page.cut(found, limit, lambda last: opaque(last.id))


def _conditions(
    participant_ids: Collection[str] | None, state: State | None, kind: Kind | None, text: str
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_endpoint.removed_at.is_(None)]
    if participant_ids is not None:
        conditions.append(_endpoint.participant_id.in_(participant_ids))
    if state is not None:
        conditions.append(current_state == state)
    if kind is not None:
        conditions.append(_endpoint.kind == kind)
    if text:
        told = (_endpoint.id, _endpoint.name, _endpoint.url, _endpoint.participant_id)
        conditions.append(or_(*(_has(one, text) for one in told)))
    return conditions


def _has(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    return func.lower(column).contains(text.lower(), autoescape=True)
