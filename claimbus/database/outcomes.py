"""What becomes of replayed letters, told by the attempts: settled in the transaction that records them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, or_, select, update

from claimbus.database import attempts
from claimbus.database.attempts import Attempt
from claimbus.database.given import given
from claimbus.database.schema import letters, moment_of, replay_items, replays
from claimbus.events.fingerprint import fingerprint

NOTE_LENGTH: Final = 200
"""Characters of a failure that a job and its items tell."""

_ARRIVED: Final = ("delivered", "superseded")
_FAILED: Final = ("retry", "dead letter")
"""How ``next`` begins after an attempt that failed and counted."""


def record(connection: Connection, batch: Sequence[Attempt]) -> None:
    """Add attempts and settle what they tell of replayed letters; again is the same."""
    attempts.record(connection, batch)
    settle(connection, batch)


def settle(connection: Connection, rows: Iterable[Attempt]) -> None:
    """Settle the letters, and the items of replays, that these attempts tell of; again is the same.

    Where a delivery arrived (delivered or superseded), its letter in this replay becomes ``delivered``, and
    so do all of the same endpoint and message that are ``dead``. Where it failed as its letter did, the
    failure has ``returned`` to the job, unless an operator resumed it since.
    """
    replayed = [row for row in rows if row.replay is not None]
    if not replayed:
        return
    found = _unsettled(connection, {(row.message_id, row.endpoint_id) for row in replayed})
    arrived: dict[str, Attempt] = {}
    failed: dict[str, Attempt] = {}
    returned: dict[str, Attempt] = {}
    for row in replayed:
        for letter in found[row.message_id, row.endpoint_id]:
            is_its_own = letter.replay_id == row.replay
            if row.verdict in _ARRIVED and (is_its_own or letter.state == "dead"):
                arrived[letter.id] = row
            elif is_its_own and row.next.startswith(_FAILED):
                failed[letter.id] = row
                if fingerprint(letter.cause, row.status, row.detail or "").id == letter.fingerprint:
                    returned[letter.replay_id] = row
    _lock_items(connection, failed | arrived)
    if arrived:
        _mark_arrived(connection, arrived, at=moment_of(max(row.started_ms for row in replayed)))
    if failed:
        _note(connection, failed)
    for _, row in sorted(returned.items()):
        _mark_returned(connection, row)


def _unsettled(
    connection: Connection, deliveries: Collection[tuple[str, str]]
) -> defaultdict[tuple[str, str], list[Row[Any]]]:
    """Return the letters by message and endpoint, locked in one order until the transaction ends."""
    column, wanted = letters.c, given(connection, deliveries, "message", "endpoint")
    names = ("id", "message_id", "endpoint_id", "state", "replay_id", "cause", "fingerprint")
    query = (
        select(*(column[name] for name in names))
        .join(wanted, (column.message_id == wanted.c.message) & (column.endpoint_id == wanted.c.endpoint))
        .where(column.state.not_in(("delivered", "dead again", "discarded")))  # an IN is looked up by state
        .order_by(column.id)
        .with_for_update(of=letters)
    )
    found: defaultdict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.message_id, row.endpoint_id].append(row)
    return found


def _lock_items(connection: Connection, told: Mapping[str, Attempt]) -> None:
    """Lock the letters' items in one order: a runner may be marking the same ones as sent."""
    item, wanted = replay_items.c, _table(connection, told, lambda _: None)
    query = select(item.position).where(_is_item_of(wanted)).order_by(item.letter_id)
    connection.execute(query.with_for_update(of=replay_items))


def _mark_arrived(connection: Connection, arrived: Mapping[str, Attempt], *, at: datetime) -> None:
    told = _table(connection, arrived, lambda row: row.verdict)
    delivered = {"state": "delivered", "state_at": at}
    reason = told.c.note + " by " + told.c.replay
    letter = update(letters).where(letters.c.id == told.c.letter)
    connection.execute(letter.values({**delivered, "state_reason": reason}))
    item = update(replay_items).where(_is_item_of(told))
    connection.execute(item.values({**delivered, "detail": told.c.note}))


def _note(connection: Connection, failed: Mapping[str, Attempt]) -> None:
    told = _table(connection, failed, _told)
    is_open = or_(replay_items.c.state == "sending", replay_items.c.state == "sent")
    item = update(replay_items).where(_is_item_of(told), is_open)
    connection.execute(item.values(detail=told.c.note))


def _table(
    connection: Connection, rows: Mapping[str, Attempt], note: Callable[[Attempt], str | None]
) -> FromClause:
    told = [(letter_id, row.replay, note(row)) for letter_id, row in rows.items()]
    return given(connection, told, "letter", "replay", "note")


def _is_item_of(told: FromClause) -> ColumnElement[bool]:
    return and_(replay_items.c.letter_id == told.c.letter, replay_items.c.replay_id == told.c.replay)


def _mark_returned(connection: Connection, row: Attempt) -> None:
    column = replays.c
    at = moment_of(row.started_ms)
    watched = update(replays).where(
        column.id == row.replay,
        column.returned_at.is_(None),
        column.keep_going.is_(False),
        or_(column.resumed_at.is_(None), column.resumed_at <= at),
    )
    connection.execute(watched.values(returned_at=at, returned=_told(row)))


def _told(row: Attempt) -> str:
    """Say how an attempt failed, ``failed, 503: Service Unavailable``, in characters fit for any database."""
    status = "" if row.status is None else f", {row.status}"
    detail = f": {row.detail}" if row.detail else ""
    told = f"{row.verdict}{status}{detail}"[:NOTE_LENGTH]
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in told)
