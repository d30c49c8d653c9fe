"""The bodies of dead letters: each claim's record as it lay in Redis, kept once, and its chunks."""

import json
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, tuple_

from claimbus.database.errors import NotFoundError
from claimbus.database.schema import kept_chunks, kept_claims, letters, milliseconds
from claimbus.database.statements import insert_into, portions
from claimbus.events.event import ALL, Audience

STRAY_AFTER: Final = timedelta(days=1)
"""Chunks that still lie there without their claim's record after so long belong to nothing."""


class KeptClaim(NamedTuple):
    """A claim as it lay in Redis: its record; the body is in it, or beside it in so many ``chunks``.

    ``size`` is the body's, ``stored`` what record and chunks take together, both in bytes.
    """

    claim_id: str
    audience: Audience
    size: int
    stored: int
    chunks: int
    kept_at: datetime
    record: bytes


def record(connection: Connection, claims: Iterable[KeptClaim]) -> None:
    """Keep claims, whose chunks were written before; one that is kept already stays as it is."""
    rows = [
        (
            one.claim_id,
            json.dumps(one.audience if one.audience == ALL else sorted(one.audience)),
            one.size,
            one.stored,
            one.chunks,
            milliseconds(one.kept_at),
            one.record,
        )
        for one in sorted(claims, key=_claim_id)  # in one order, so that two writers do not deadlock
    ]
    if rows:
        connection.exec_driver_sql(
            f"{insert_into(connection, kept_claims, KeptClaim._fields)} ON CONFLICT DO NOTHING",
            rows,
        )


def write_chunk(connection: Connection, claim_id: str, number: int, data: bytes, at: datetime) -> None:
    """Write a chunk, counted from 0, of a claim that is about to be recorded; doing so again is the same."""
    connection.exec_driver_sql(
        insert_into(connection, kept_chunks, ("claim_id", "number", "written_at", "data"))
        + " ON CONFLICT (claim_id, number) "
        "DO UPDATE SET written_at = excluded.written_at, data = excluded.data",
        (claim_id, number, milliseconds(at), data),
    )


def has(connection: Connection, claim_ids: Collection[str], *, hold: bool = False) -> frozenset[str]:
    """Return which of these claims are kept.

    ``hold``: no `sweep` takes them before this transaction has ended; then it sees what this one recorded.
    """
    column = kept_claims.c.claim_id
    query = select(column).order_by(column)
    if hold:  # SQLite has but one writer, and SQLAlchemy leaves the words out for it
        query = query.with_for_update(read=True, key_share=True)
    found: set[str] = set()
    for some in portions(sorted(claim_ids)):
        found.update(connection.execute(query.where(column.in_(some))).scalars())
    return frozenset(found)


def get(connection: Connection, claim_id: str) -> KeptClaim | None:
    """Return a claim, if it is kept."""
    row = connection.execute(select(kept_claims).where(kept_claims.c.claim_id == claim_id)).first()
    return None if row is None else KeptClaim._make(row)._replace(audience=_audience(row.audience))


def chunk(connection: Connection, claim_id: str, number: int) -> bytes:
    """Return a chunk, counted from 0. Raises NotFoundError."""
    column = kept_chunks.c
    query = select(column.data).where(column.claim_id == claim_id, column.number == number)
    data: bytes | None = connection.execute(query).scalar()
    if data is None:
        raise NotFoundError("claim", f"chunk {number} of {claim_id!r:.80} is not kept")
    return data


def audiences(connection: Connection, claim_ids: Collection[str]) -> dict[str, Audience]:
    """Return who may see these claims, of those that are kept."""
    column = kept_claims.c
    query = select(column.claim_id, column.audience)
    return {
        claim_id: _audience(audience)
        for some in portions(claim_ids)
        for claim_id, audience in connection.execute(query.where(column.claim_id.in_(some)))
    }


def stored_bytes(connection: Connection) -> int:
    """Return how many bytes all kept claims take."""
    total: int = connection.execute(select(func.coalesce(func.sum(kept_claims.c.stored), 0))).scalar_one()
    return int(total)


def sweep(connection: Connection, died_before: datetime, *, limit: int = 1000) -> int:
    """Delete bodies that no letter needs any more, or else stray chunks; return how many.

    A letter needs its body until ``died_before`` is past its death and, during a replay, past the begin of
    that. At most ``limit`` claims and chunks go, or one claim that has more chunks. Repeat it, each time in
    a transaction of its own, until it returns 0.
    """
    claim, letter = kept_claims.c, letters.c
    in_use = or_(
        letter.died_at >= died_before,
        and_(letter.state == "replaying", letter.state_at >= died_before),
    )
    unneeded = ~exists().where(letter.claim_id == claim.claim_id, in_use)
    oldest = select(claim.claim_id, claim.chunks).where(claim.kept_at < died_before, unneeded)
    found = connection.execute(oldest.order_by(claim.kept_at).limit(limit)).all()
    weights = accumulate(1 + one.chunks for one in found)
    going = [one.claim_id for one, weight in zip(found, weights, strict=True) if weight <= limit]
    if not found:
        return _sweep_stray_chunks(connection, limit)
    these = claim.claim_id.in_(going or [found[0].claim_id])
    # Locked first, then looked at anew: a letter may have come that relies on the body (`has`, with `hold`).
    connection.execute(select(claim.claim_id).where(these).order_by(claim.claim_id).with_for_update())
    gone = connection.execute(delete(kept_claims).where(these, unneeded).returning(claim.claim_id))
    swept = gone.scalars().all()
    connection.execute(delete(kept_chunks).where(kept_chunks.c.claim_id.in_(swept)))
    return len(swept)


def _sweep_stray_chunks(connection: Connection, limit: int) -> int:
    column = kept_chunks.c
    key = tuple_(column.claim_id, column.number)
    stray = select(column.claim_id, column.number).where(
        column.written_at < datetime.now(UTC) - STRAY_AFTER,
        ~exists().where(kept_claims.c.claim_id == column.claim_id),
    )
    return connection.execute(delete(kept_chunks).where(key.in_(stray.limit(limit)))).rowcount


def _audience(kept: Any) -> Audience:  # noqa: ANN401 - JSON
    return ALL if kept == ALL else frozenset(kept)


def _claim_id(claim: KeptClaim) -> str:
    return claim.claim_id
