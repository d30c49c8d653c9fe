"""Putting endpoints together from their three tables: three queries, however many endpoints."""

from collections import defaultdict
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, and_, case, select

from claimbus.database import endpoint_secrets, schema
from claimbus.database.endpoint import Endpoint

_column = schema.endpoints.c
current_state: Final = case(
    (and_(_column.state == "active", _column.kind == "webhook", _column.verified_at.is_(None)), "pending"),
    else_=_column.state,
)
"""An endpoint's state. The table has what its keepers want; pending is a webhook that is not verified."""

_but_state: Final = tuple(one for one in _column if one is not _column.state)


def load(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[Endpoint, ...]:
    """Return the endpoints whose own row meets every condition, by age."""
    wanted = select(schema.endpoints.c.id).where(*conditions)
    secrets, subscriptions = endpoint_secrets.load(connection, wanted), _subscriptions(connection, wanted)
    query = (
        select(*_but_state, current_state.label("state"), schema.participants.c.organisation_id)
        .join(schema.participants)
        .where(*conditions)
        .order_by(schema.endpoints.c.created_at, schema.endpoints.c.id)
    )
    return tuple(
        Endpoint(**row, secrets=tuple(secrets[row["id"]]), subscriptions=tuple(subscriptions[row["id"]]))
        for row in connection.execute(query).mappings()
    )


def _subscriptions(connection: Connection, of: Select[str]) -> defaultdict[str, list[str]]:
    column = schema.subscriptions.c
    query = select(column.endpoint_id, column.pattern).where(column.endpoint_id.in_(of))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for endpoint_id, pattern in connection.execute(query.order_by(column.pattern)):
        found[endpoint_id].append(pattern)
    return found
