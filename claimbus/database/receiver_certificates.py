"""The certificates that receivers show, and when each ends: as seen last, by `consumers.handshake`.

A row is about the URL that was looked at, and counts for as long as that is its endpoint's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from claimbus.database.endpoint import Endpoint
from claimbus.database.endpoint_rows import load
from claimbus.database.given import among
from claimbus.database.schema import endpoints, receiver_certificates

_row, _endpoint = receiver_certificates.c, endpoints.c


class Certificate(NamedTuple):
    """A certificate by its SHA-256 in hexadecimal, with its names (RFC 4514) and when it begins and ends."""

    fingerprint: str
    subject: str
    issuer: str
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The certificate that an endpoint's receiver showed when one was last seen there, at ``seen_at``."""

    endpoint_id: str
    endpoint_name: str
    participant_id: str
    fingerprint: str
    subject: str
    issuer: str
    begins_at: datetime
    ends_at: datetime
    seen_at: datetime


def note(
    connection: Connection, endpoint_id: str, url: str, shown: Certificate | None, now: datetime
) -> None:
    """Note what a look at an endpoint's receiver found. None: nothing; what was seen there before stays."""
    found = {"url": url, "looked_at": now}
    if shown is not None:
        found |= {**shown._asdict(), "seen_at": now}
    connection.execute(delete(receiver_certificates).where(_row.endpoint_id == endpoint_id, _row.url != url))
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    adding = dialect.insert(receiver_certificates).values(endpoint_id=endpoint_id, **found)
    connection.execute(adding.on_conflict_do_update(index_elements=["endpoint_id"], set_=found))


def find(
    connection: Connection,
    *,
    endpoint_ids: Collection[str] | None = None,
    participant_ids: Collection[str] | None = None,
    ends_by: datetime | None = None,
    seen_since: datetime | None = None,
) -> tuple[Seen, ...]:
    """Return those that were seen and pass every filter given: what ends first comes first."""
    query = (
        select(
            _row.endpoint_id,
            _endpoint.name.label("endpoint_name"),
            _endpoint.participant_id,
            *(_row[name] for name in Certificate._fields),
            _row.seen_at,
        )
        .join(endpoints)
        .where(_row.url == _endpoint.url, _endpoint.removed_at.is_(None), _row.seen_at.is_not(None))
    )
    if endpoint_ids is not None:
        query = query.where(_row.endpoint_id.in_(among(connection, endpoint_ids)))
    if participant_ids is not None:
        query = query.where(_endpoint.participant_id.in_(among(connection, participant_ids)))
    if ends_by is not None:
        query = query.where(_row.ends_at <= ends_by)
    if seen_since is not None:
        query = query.where(_row.seen_at >= seen_since)
    found = connection.execute(query.order_by(_row.ends_at, _row.endpoint_id)).mappings()
    return tuple(Seen(**one) for one in found)


def due(connection: Connection, before: datetime, limit: int) -> tuple[Endpoint, ...]:
    """Return endpoints whose receivers were last looked at before a moment, or never: at most so many.

    Only what has agreed to receive over TLS, and is active or paused: to nobody else do we connect unasked.
    """
    query = (
        select(_endpoint.id)
        .outerjoin(receiver_certificates, and_(_row.endpoint_id == _endpoint.id, _row.url == _endpoint.url))
        .where(
            _endpoint.removed_at.is_(None),
            _endpoint.verified_at.is_not(None),
            _endpoint.state.in_(("active", "paused")),
            func.lower(_endpoint.url).startswith("https:"),
            or_(_row.looked_at.is_(None), _row.looked_at < before),
        )
        .order_by(_row.looked_at.nulls_first(), _endpoint.id)
        .limit(limit)
    )
    return load(connection, _endpoint.id.in_(list(connection.execute(query).scalars())))
