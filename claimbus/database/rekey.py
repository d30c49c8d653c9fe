"""Changing keys: encrypting anew what does not go by itself, and telling which keys the rest still needs."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, select, update

from claimbus.database import sealed
from claimbus.database.schema import endpoint_secrets, kept_claims, parked_events

AT_ONCE: Final = 1000
"""Rows of each kind that one transaction encrypts anew."""


def rekey(connection: Connection) -> int:
    """Encrypt secrets and parked events with the first key, `AT_ONCE` at most of each; return how many.

    Repeat it, each time in a transaction of its own, until it returns 0. Raises KeyMissingError.
    """
    first = sealed.keys_of(connection).first
    return 0 if first is None else _secrets(connection, first) + _parked(connection, first)


def secrets_by_key(connection: Connection) -> Counter[str | None]:
    """Count the endpoints' secrets by the name of their key, None for those in clear."""
    return Counter(map(sealed.key_of, connection.execute(select(endpoint_secrets.c.value)).scalars()))


def parked_by_key(connection: Connection) -> Counter[str | None]:
    """Count the parked events, also those that were released, alike."""
    return Counter(map(sealed.key_of, connection.execute(select(parked_events.c.resource_id)).scalars()))


def kept_beginnings(connection: Connection, length: int) -> Iterator[tuple[str, bytes]]:
    """Yield the claim ID of each dead letter's body, and so many bytes of its record."""
    column = kept_claims.c
    for claim_id, start in connection.execute(select(column.claim_id, func.substr(column.record, 1, length))):
        yield claim_id, bytes(start)


def _secrets(connection: Connection, first: str) -> int:
    column = endpoint_secrets.c
    query = select(column.id, column.endpoint_id, column.value).where(_not_with(column.value, first))
    rows = connection.execute(query.limit(AT_ONCE).with_for_update()).all()
    for number, endpoint_id, stored in rows:
        secret = sealed.secret(connection, endpoint_id, stored)
        anew = sealed.stored_secret(connection, endpoint_id, secret)
        connection.execute(update(endpoint_secrets).where(column.id == number).values(value=anew))
    return len(rows)


def _parked(connection: Connection, first: str) -> int:
    column = parked_events.c
    query = select(column.message_id, column.resource_id, column.attributes, column.body)
    waiting = query.where(_not_with(column.resource_id, first)).limit(AT_ONCE).with_for_update()
    rows = [row._asdict() for row in connection.execute(waiting)]
    for stored in rows:
        anew = sealed.stored_parked(connection, sealed.parked(connection, stored))
        this = column.message_id == stored["message_id"]
        connection.execute(update(parked_events).where(this).values(anew))
    return len(rows)


def _not_with(text: ColumnElement[str], key: str) -> ColumnElement[bool]:
    return ~text.startswith(sealed.prefix(key), autoescape=True)
