"""What became of every delivery, try by try. Written thousands a second, in batches.

Rows never change; they are forgotten by age. Their key is made by the worker, so a batch whose commit failed,
or whose outcome is unknown, is recorded again without a duplicate.
"""

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_

from claimbus.database.given import given
from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import attempts, is_rare, milliseconds, moment_of
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
        """Return them for SQL."""
        column = attempts.c
        found: list[ColumnElement[bool]] = []
        for name in ("message_id", "type", "partitionkey", "replay"):
            value = getattr(self, name)
            if value is not None:
                found.append(column[name] == value)
        if self.endpoint_ids is not None:
            found.append(column.endpoint_id.in_(self.endpoint_ids))
        if self.verdicts is not None:
            found.append(column.verdict.in_(self.verdicts))
        return [*found, *self.period()]

    def period(self) -> list[ColumnElement[bool]]:
        """Return those on the time alone."""
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(attempts.c.started_ms >= milliseconds(self.since))
        if self.until is not None:
            found.append(attempts.c.started_ms < milliseconds(self.until))
        return found


EVERYTHING: Final = Filter()

PATIENCE: Final = 0.08
"""Seconds after which a search begins no further step."""

STEP: Final = 5_000
"""Attempts that a step of a search fetches one by one, at most: 10 to 20 ms."""

IN_A_ROW: Final = 50_000
"""Attempts that a step reads, at most, as they lie side by side in time: 5 to 20 ms."""

GROWS: Final = 8
"""How many times as many the next step reads."""

_key = tuple_(attempts.c.started_ms, attempts.c.id)
_newest_first = (attempts.c.started_ms.desc(), attempts.c.id.desc())


@dataclass(frozen=True, slots=True)
class Found(Page[Attempt]):
    """Attempts, the newest first.

    ``back_to``: so far back was searched, and there is more to search: then there is a cursor, however few
    rows there are.
    """

    back_to: datetime | None = None


def find(
    connection: Connection, wanted: Filter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
) -> Found:
    """Return attempts, newest first.

    Not every filter has an index: each would cost every insert. What none leads to is searched for step by
    step, the newest first, for `PATIENCE`. The page then has what was found so far, maybe nothing, and a
    cursor that goes on from there.
    """
    before = None if cursor is None else whole_numbers(cursor, 2)
    search, step = _Search(connection, wanted), limit
    give_up_at = time.monotonic() + PATIENCE
    found: list[Attempt] = []
    while True:
        floor_ms = search.floor(before, step)
        found += search.between(floor_ms, before, limit + 1 - len(found))
        if floor_ms is None or len(found) > limit:
            page = Page.cut(found, limit, lambda last: f"{last.started_ms}-{last.id}")
            return Found(page.rows, page.cursor)
        if time.monotonic() >= give_up_at:
            return Found(tuple(found), f"{floor_ms}-0", moment_of(floor_ms))
        before, step = (floor_ms, 0), max(min(GROWS * step, search.most), limit)


def newest(connection: Connection, wanted: Filter, limit: int) -> list[Attempt]:
    """Return the newest attempts of all that are kept, however long that takes."""
    page = find(connection, wanted, limit=limit)
    rows = list(page.rows)
    while page.cursor is not None and len(rows) < limit:
        page = find(connection, wanted, cursor=page.cursor, limit=limit - len(rows))
        rows += page.rows
    return rows


class _Search:
    """A search by an index that goes back in time: of all attempts, or of those of each value of a column.

    One look at several values would sort all that they have, so a step ends where the one of them that has
    most ends it. ``most`` is how many attempts of each are read in a step, at most.
    """

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        self._connection, self._wanted = connection, wanted
        self._is_short = wanted.message_id is not None or wanted.partitionkey is not None
        self._column, self._values = (None, ()) if self._is_short else _way(wanted)
        self._conditions = wanted.period()
        if self._column is attempts.c.verdict:
            self._conditions.append(is_rare)
        self.most = IN_A_ROW if self._column is None else STEP // max(len(self._values), 1)

    def floor(self, before: Sequence[int] | None, step: int) -> int | None:
        """Return to which moment, in milliseconds, so many attempts reach back; None: there are no more."""
        if self._is_short:  # few have the same, and an index of their own
            return None
        nth = select(attempts.c.started_ms).where(*self._conditions, *_before(before))
        nth = nth.order_by(*_newest_first).limit(1).offset(step)
        if self._column is None:
            return self._connection.execute(nth).scalar()
        listed = given(self._connection, [(one,) for one in self._values], "value")
        of_each = nth.where(self._column == listed.c.value).correlate(listed).scalar_subquery()
        return self._connection.execute(select(func.max(of_each)).select_from(listed)).scalar()

    def between(self, floor_ms: int | None, before: Sequence[int] | None, limit: int) -> list[Attempt]:
        """Return what is wanted from a moment on, the newest first."""
        # The keys first: an index alone may give them, while SQLite would fetch each row of an endpoint to
        # see its verdict (30 times slower).
        keys = select(attempts.c.started_ms, attempts.c.id)
        keys = keys.where(*self._wanted.conditions(), *self._conditions, *_before(before))
        if floor_ms is not None:
            keys = keys.where(attempts.c.started_ms >= floor_ms)
        keys = keys.order_by(*_newest_first).limit(limit)
        rows = select(attempts).where(_key.in_(keys)).order_by(*_newest_first)
        return [Attempt._make(row) for row in self._connection.execute(rows)]


def _way(wanted: Filter) -> tuple[ColumnElement[str] | None, Collection[str]]:
    """Return the column whose index leads to what is wanted, and its values; None: only time does."""
    if wanted.replay is not None:
        return attempts.c.replay, (wanted.replay,)
    if wanted.endpoint_ids is not None:
        return attempts.c.endpoint_id, set(wanted.endpoint_ids)
    if wanted.verdicts is not None and "delivered" not in wanted.verdicts:
        return attempts.c.verdict, set(wanted.verdicts)
    return None, ()


def _before(key: Sequence[int] | None) -> list[ColumnElement[bool]]:
    return [] if key is None else [_key < tuple_(*key)]


def count(connection: Connection, wanted: Filter = EVERYTHING) -> dict[str, int]:
    """Return how many attempts ended with which verdict."""
    query = select(attempts.c.verdict, func.count()).where(*wanted.conditions())
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


def arrived(connection: Connection, deliveries: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Return which of these deliveries, each an endpoint's ID and a message's, were made."""
    column, wanted = attempts.c, given(connection, deliveries, "endpoint", "message")
    is_wanted = (column.message_id == wanted.c.message) & (column.endpoint_id == wanted.c.endpoint)
    query = select(column.endpoint_id, column.message_id).join(wanted, is_wanted)
    found = connection.execute(query.where(column.verdict == "delivered"))
    return frozenset((endpoint_id, message_id) for endpoint_id, message_id in found)


def forget(connection: Connection, before: datetime, *, limit: int = 5000) -> int:
    """Delete the oldest attempts from before a moment, at most so many; return how many.

    Repeat it, each time in a transaction of its own, until it returns 0: the workers' writes go in between.
    """
    column = attempts.c
    oldest = select(column.started_ms, column.id).where(column.started_ms < milliseconds(before))
    oldest = oldest.order_by(column.started_ms, column.id).limit(limit)
    return connection.execute(delete(attempts).where(_key.in_(oldest))).rowcount
