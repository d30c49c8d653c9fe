"""Replay jobs and their items as values, and how they are read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import BigInteger, Connection, Row, exists, func, literal, select, tuple_

from claimbus.database import letters
from claimbus.database.errors import NotFoundError
from claimbus.database.letters import DeadLetter
from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import milliseconds, replay_items, replay_participants, replays

State = Literal["running", "paused", "sent", "done", "cancelled"]
"""``sent``: every letter was sent or skipped, but what became of some is not known yet."""

ItemState = Literal["waiting", "sending", "sent", "delivered", "dead again", "skipped", "cancelled"]

STAGES: Final = (1, 11)
"""How many letters a job with a canary may send at first, and how many in all in its second stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A job that delivers dead letters again.

    ``rate`` is in deliveries a second for each endpoint (None: no limit). The items with a position below
    ``stage`` may be sent so far, of ``total``. ``returned`` tells which failure came back, and when; with
    ``keep_going`` that pauses nothing. Whoever runs the job (``runner``) has it until ``leased_until``.
    """

    id: str
    state: State
    state_at: datetime
    state_reason: str
    actor: str
    reason: str
    selection: Mapping[str, Any]
    rate: float | None
    canary: bool
    keep_going: bool
    stage: int
    total: int
    created_at: datetime
    resumed_at: datetime | None
    ended_at: datetime | None
    runner: str | None
    leased_until: datetime | None
    returned_at: datetime | None
    returned: str | None

    @property
    def next_stage(self) -> int:
        """Return the stage after this one: 1, then 10 more, then everything."""
        return min(next((stage for stage in STAGES if stage > self.stage), self.total), self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A letter of a job, at its place in the order of sending, as it was when it was read."""

    replay_id: str
    position: int
    state: ItemState
    state_at: datetime
    detail: str
    letter: DeadLetter

    @property
    def unsure(self) -> bool:
        """Tell whether it may have been sent: a runner took it and has not told what came of it."""
        return self.state == "sending"


class Progress(NamedTuple):
    """How many items of a job are in which state."""

    waiting: int = 0
    sending: int = 0
    sent: int = 0
    delivered: int = 0
    dead_again: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """Return the number of all items."""
        return sum(self)


def get(connection: Connection, replay_id: str) -> Replay:
    """Return a job. Raises NotFoundError."""
    return _get(connection, replay_id, lock=False)


def locked(connection: Connection, replay_id: str) -> Replay:
    """Return a job that nobody else changes until the transaction ends. Raises NotFoundError."""
    return _get(connection, replay_id, lock=True)


def _get(connection: Connection, replay_id: str, *, lock: bool) -> Replay:
    query = select(replays).filter_by(id=replay_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise NotFoundError("replay", f"there is no replay {replay_id!r:.60}")
    return Replay(**row)


def find(
    connection: Connection,
    states: Collection[State] | None = None,
    *,
    actor: str | None = None,
    participant_ids: Collection[str] | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Replay]:
    """Return jobs that pass every filter given, newest first: in these states, made by somebody.

    ``participant_ids``: every letter of theirs is of one of these participants.
    """
    column, whose = replays.c, replay_participants.c
    query = select(replays)
    if states is not None:
        query = query.where(column.state.in_(states))
    if actor is not None:
        query = query.where(column.actor == actor)
    if participant_ids is not None:
        of_job = whose.replay_id == column.id
        others = exists().where(of_job, whose.participant_id.not_in(participant_ids))
        query = query.where(exists().where(of_job), ~others)
    if cursor is not None:
        number, _, last_id = cursor.partition("-")
        (created,) = whole_numbers(number, 1)
        query = query.where(
            tuple_(column.created_at, column.id) < tuple_(literal(created, BigInteger), last_id)
        )
    newest = query.order_by(column.created_at.desc(), column.id.desc()).limit(limit + 1)
    found = [Replay(**row) for row in connection.execute(newest).mappings()]
    return Page.cut(found, limit, lambda last: f"{milliseconds(last.created_at)}-{last.id}")


def participants_of(connection: Connection, replay_id: str) -> frozenset[str]:
    """Return whose letters a job has; ``""`` stands for nobody's."""
    whose = select(replay_participants.c.participant_id).filter_by(replay_id=replay_id)
    return frozenset(connection.execute(whose).scalars())


def progress(connection: Connection, replay_id: str) -> Progress:
    """Count a job's items by state."""
    return progresses(connection, [replay_id])[replay_id]


def progresses(connection: Connection, replay_ids: Collection[str]) -> dict[str, Progress]:
    """Count the items of each of these jobs by state."""
    column = replay_items.c
    counting = select(column.replay_id, column.state, func.count()).group_by(column.replay_id, column.state)
    counts: dict[str, dict[str, int]] = {one: {} for one in replay_ids}
    for replay_id, state, count in connection.execute(counting.where(column.replay_id.in_(replay_ids))):
        counts[replay_id][state.replace(" ", "_")] = count
    return {replay_id: Progress(**by_state) for replay_id, by_state in counts.items()}


def items(
    connection: Connection,
    replay_id: str,
    states: Collection[ItemState] | None = None,
    *,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Item]:
    """Return a job's items in the order of sending; those whose letters are forgotten by age are left out."""
    column = replay_items.c
    query = select(replay_items).where(column.replay_id == replay_id)
    if states is not None:
        query = query.where(column.state.in_(states))
    if cursor is not None:
        query = query.where(column.position > whole_numbers(cursor, 1)[0])
    rows = connection.execute(query.order_by(column.position).limit(limit + 1)).all()
    page = Page.cut(rows, limit, lambda last: str(last.position))
    return Page(tuple(with_letters(connection, page.rows)), page.cursor)


def with_letters(connection: Connection, rows: Sequence[Row[Any]]) -> list[Item]:
    """Put items together from their rows; one whose letter was forgotten is left out."""
    found = {one.id: one for one in letters.many(connection, [row.letter_id for row in rows])}
    return [
        Item(
            replay_id=row.replay_id,
            position=row.position,
            state=row.state,
            state_at=row.state_at,
            detail=row.detail,
            letter=found[row.letter_id],
        )
        for row in rows
        if row.letter_id in found
    ]
