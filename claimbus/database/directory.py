"""Participants and endpoints a page at a time, by name, as people look for them."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, func, or_, select, tuple_

from claimbus.database.endpoint import Endpoint, Kind, State
from claimbus.database.endpoint_rows import current_state, load
from claimbus.database.page import Page
from claimbus.database.participants import Participant
from claimbus.database.schema import endpoints as endpoints_table
from claimbus.database.schema import participants as participants_table
from claimbus.database.statements import portions
from claimbus.events.errors import InvalidInputError

_endpoint = endpoints_table.c
_by_name = (_endpoint.participant_id, _endpoint.name, _endpoint.id)


def endpoints(
    connection: Connection,
    *,
    participant_ids: Collection[str] | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: str = "",
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Endpoint]:
    """Return endpoints that are not removed, by participant and name; ``text`` is in one of their names.

    A cursor is the ID of the last one of a page.
    """
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
    query = select(_endpoint.id).where(*conditions)
    if cursor is not None:
        last = connection.execute(select(*_by_name).where(_endpoint.id == cursor)).first()
        if last is None:
            raise _no_cursor(cursor)
        query = query.where(tuple_(*_by_name) > tuple_(*last))
    found = list(connection.execute(query.order_by(*_by_name).limit(limit + 1)).scalars())
    page = Page.cut(found, limit, lambda last_id: last_id)
    return Page(many(connection, page.rows), page.cursor)


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
        query = query.where(column.id > cursor)
    found = [
        Participant(
            id=row.id,
            organisation_id=row.organisation_id,
            event_types=tuple(row.event_types),
            created_at=row.created_at,
        )
        for row in connection.execute(query.order_by(column.id).limit(limit + 1))
    ]
    return Page.cut(found, limit, lambda last: last.id)


def _has(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    return func.lower(column).contains(text.lower(), autoescape=True)


def _no_cursor(cursor: str) -> InvalidInputError:
    return InvalidInputError("cursor", f"{cursor!r:.80} did not come from an earlier page")
