"""The secrets that deliveries are signed with: sealed, if there are keys; several, while older ones end."""

import base64
from collections import defaultdict
from datetime import datetime, timedelta
from secrets import token_bytes

from sqlalchemy import Connection, Select, delete, insert, or_, select, update

from claimbus.database import sealed
from claimbus.database.endpoint import Secret
from claimbus.database.schema import endpoint_secrets

_column = endpoint_secrets.c


def load(connection: Connection, of: Select[str]) -> defaultdict[str, list[Secret]]:
    """Return the secrets of the endpoints whose IDs are selected, the newest first."""
    query = select(_column.endpoint_id, _column.value, _column.created_at, _column.expires_at)
    found: defaultdict[str, list[Secret]] = defaultdict(list)
    for endpoint_id, value, *dates in connection.execute(
        query.where(_column.endpoint_id.in_(of)).order_by(_column.id.desc())
    ):
        found[endpoint_id].append(Secret(sealed.secret(connection, endpoint_id, value), *dates))
    return found


def add(connection: Connection, endpoint_id: str, at: datetime) -> None:
    """Make a secret, which has no end."""
    value = "whsec_" + base64.b64encode(token_bytes(32)).decode()
    stored = sealed.stored_secret(connection, endpoint_id, value)
    row = {"endpoint_id": endpoint_id, "value": stored, "created_at": at}
    connection.execute(insert(endpoint_secrets), row)


def rotate(connection: Connection, endpoint_id: str, at: datetime, overlap: timedelta) -> None:
    """Make a secret; those before it end with the overlap, or earlier. Forget those that have ended."""
    of_endpoint, ends = _column.endpoint_id == endpoint_id, at + overlap
    connection.execute(delete(endpoint_secrets).where(of_endpoint, _column.expires_at <= at))
    lasting = or_(_column.expires_at.is_(None), _column.expires_at > ends)
    connection.execute(update(endpoint_secrets).where(of_endpoint, lasting).values(expires_at=ends))
    add(connection, endpoint_id, at)


def forget(connection: Connection, endpoint_id: str) -> None:
    """Forget all secrets of an endpoint."""
    connection.execute(delete(endpoint_secrets).filter_by(endpoint_id=endpoint_id))
