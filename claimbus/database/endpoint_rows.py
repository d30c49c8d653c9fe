"""Putting endpoints together from their three tables: three queries, however many endpoints."""

from collections import defaultdict

from sqlalchemy import ColumnElement, Connection, Select, select

from claimbus.database import schema
from claimbus.database.endpoint import Endpoint, Secret


def load(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[Endpoint, ...]:
    """Return the endpoints whose own row meets every condition, by age."""
    wanted = select(schema.endpoints.c.id).where(*conditions)
    secrets, subscriptions = _secrets(connection, wanted), _subscriptions(connection, wanted)
    query = (
        select(schema.endpoints, schema.participants.c.organisation_id)
        .join(schema.participants)
        .where(*conditions)
        .order_by(schema.endpoints.c.created_at, schema.endpoints.c.id)
    )
    return tuple(
        Endpoint(**row, secrets=tuple(secrets[row["id"]]), subscriptions=tuple(subscriptions[row["id"]]))
        for row in connection.execute(query).mappings()
    )


def _secrets(connection: Connection, of: Select[str]) -> defaultdict[str, list[Secret]]:
    column = schema.endpoint_secrets.c
    query = select(column.endpoint_id, column.value, column.created_at, column.expires_at)
    found: defaultdict[str, list[Secret]] = defaultdict(list)
    for endpoint_id, *rest in connection.execute(
        query.where(column.endpoint_id.in_(of)).order_by(column.id.desc())
    ):
        found[endpoint_id].append(Secret(*rest))
    return found


def _subscriptions(connection: Connection, of: Select[str]) -> defaultdict[str, list[str]]:
    column = schema.subscriptions.c
    query = select(column.endpoint_id, column.pattern).where(column.endpoint_id.in_(of))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for endpoint_id, pattern in connection.execute(query.order_by(column.pattern)):
        found[endpoint_id].append(pattern)
    return found
