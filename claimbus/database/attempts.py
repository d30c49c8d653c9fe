"""What became of every delivery, try by try. Written thousands a second, in batches.

Rows never change; they are forgotten by age. Their key is made by the worker, so a batch whose commit failed,
or whose outcome is unknown, is recorded again without a duplicate.
"""

import heapq
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_

from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import attempts, is_rare, milliseconds
from claimbus.database.statements import insert_into, portions

ANSWER_HEAD_BYTES: Final = 2048


class Attempt(NamedTuple):
    """One try at one delivery.

    A tuple in the order of the columns, so a batch goes to the driver as it is (a third of what a frozen
    dataclass costs). ``id`` comes from `new_id`, once an attempt. ``started_ms`` is in milliseconds since the
    epoch, UTC. ``verdict`` says how it ended and ``next`` what is done about it (``ack``, ``retry 30s``,
    ``hold``, ``dead letter``). ``status`` is the HTTP status, ``detail`` a short text and ``answer_head`` the
    answer's first 2 KiB; the last two only where something went wrong.
    """

    started_ms: int
    id: int
    endpoint_id: str
    message_id: str
    verdict: str
    participant_id: str
    type: str
    claim_id: str
    attempt: int
    status: int | None
    duration_ms: int
    next: str
    detail: str | None
    answer_head: bytes | None
    replay: str | None
    source: str
    event_id: str
    partitionkey: str | None
    sequence: int | None


def new_id() -> int:
    """Return 63 random bits: with ``started_ms`` they make an attempt's key."""
    return random.getrandbits(63)


def record(connection: Connection, batch: Sequence[Attempt]) -> None:
    """Add attempts; those that are there already are left alone."""
    if not batch:
        return
    connection.exec_driver_sql(
        f"{insert_into(connection, attempts, Attempt._fields)} ON CONFLICT DO NOTHING",
        [one if one.detail is None and one.answer_head is None else _clean(one) for one in batch],
    )


def _clean(one: Attempt) -> Attempt:
    """Make what an endpoint said fit for any database, so that it cannot spoil the batch of the others."""
    detail, head = one.detail, one.answer_head
    if detail is not None:
        detail = detail.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return one._replace(detail=detail, answer_head=head and head[:ANSWER_HEAD_BYTES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which attempts to look at: those that pass every filter given. ``until`` is exclusive."""

    endpoint_ids: Collection[str] | None = None
    message_id: str | None = None
    verdicts: Collection[str] | None = None
    type: str | None = None
    partitionkey: str | None = None
    replay: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return them for SQL, but for ``endpoint_ids``."""
        column = attempts.c
        found: list[ColumnElement[bool]] = []
        for name in ("message_id", "type", "partitionkey", "replay"):
            value = getattr(self, name)
            if value is not None:
                found.append(column[name] == value)
        if self.verdicts is not None:
            found.append(column.verdict.in_(self.verdicts))
        if self.since is not None:
            found.append(column.started_ms >= milliseconds(self.since))
        if self.until is not None:
            found.append(column.started_ms < milliseconds(self.until))
        return found

    @property
    def is_for_rare_verdicts(self) -> bool:
        """Tell whether nothing but verdicts tells which attempts pass, and all of these are rare."""
        narrow = (self.message_id, self.partitionkey, self.replay)
        return "delivered" not in (self.verdicts or ("delivered",)) and narrow == (None, None, None)


EVERYTHING: Final = Filter()
_key = tuple_(attempts.c.started_ms, attempts.c.id)


def find(
    connection: Connection, wanted: Filter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
) -> Page[Attempt]:
    """Return attempts, newest first."""
    keys = select(attempts.c.started_ms, attempts.c.id).where(*wanted.conditions())
    if cursor is not None:
        keys = keys.where(_key < tuple_(*whole_numbers(cursor, 2)))
    keys = keys.order_by(attempts.c.started_ms.desc(), attempts.c.id.desc()).limit(limit + 1)
    # Endpoint by endpoint: one look at several would sort all that they have. And the keys first: the index
    # alone gives them, while SQLite would fetch each row of an endpoint to see its verdict (30 times slower).
    # Verdict by verdict for the same reason.
    if wanted.endpoint_ids is not None:
        looks = [keys.where(attempts.c.endpoint_id == one) for one in set(wanted.endpoint_ids)]
    elif wanted.verdicts is not None and wanted.is_for_rare_verdicts:
        looks = [keys.where(attempts.c.verdict == one, is_rare) for one in set(wanted.verdicts)]
    else:
        looks = [keys]
    rows = chain.from_iterable(connection.execute(select(attempts).where(_key.in_(one))) for one in looks)
    found = heapq.nlargest(limit + 1, map(Attempt._make, rows))
    return Page.cut(found, limit, lambda last: f"{last.started_ms}-{last.id}")


def count(connection: Connection, wanted: Filter = EVERYTHING) -> dict[str, int]:
    """Return how many attempts ended with which verdict."""
    query = select(attempts.c.verdict, func.count()).where(*wanted.conditions())
    if wanted.endpoint_ids is not None:
        query = query.where(attempts.c.endpoint_id.in_(wanted.endpoint_ids))
    return dict(connection.execute(query.group_by(attempts.c.verdict)).all())


def delivered(
    connection: Connection,
    endpoint_id: str,
    message_ids: Collection[str],
    *,
    verdicts: Collection[str] = ("delivered",),
) -> frozenset[str]:
    """Return which of these messages ended at the endpoint with one of these verdicts."""
    column = attempts.c
    query = select(column.message_id).where(column.endpoint_id == endpoint_id, column.verdict.in_(verdicts))
    found: set[str] = set()
    for some in portions(message_ids):
        found.update(connection.execute(query.where(column.message_id.in_(some))).scalars())
    return frozenset(found)


def forget(connection: Connection, before: datetime, *, limit: int = 5000) -> int:
    """Delete the oldest attempts from before a moment, at most so many; return how many.

    Repeat it, each time in a transaction of its own, until it returns 0: the workers' writes go in between.
    """
    column = attempts.c
    oldest = select(column.started_ms, column.id).where(column.started_ms < milliseconds(before))
    oldest = oldest.order_by(column.started_ms, column.id).limit(limit)
    return connection.execute(delete(attempts).where(_key.in_(oldest))).rowcount
