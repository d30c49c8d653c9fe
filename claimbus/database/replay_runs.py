"""Running replays: what the process does that carries a job out.

A job has one runner at a time, by a lease. From `claim_items` to `mark_sent` an item is ``sending``: after a
crash there, the next runner gets it again as ``unsure``. Call `renew` in the transaction of `claim_items`, so
that whoever lost the job claims nothing any more.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, or_, select, update

from claimbus.database.given import among
from claimbus.database.replay_rows import Item, ItemState, Replay, get, locked, with_letters
from claimbus.database.schema import letters, replay_items, replays

_item = replay_items.c


def any_to_take(connection: Connection, runner: str, now: datetime, *, besides: Collection[str] = ()) -> bool:
    """Tell whether `take` has something to do: a look that needs no writing transaction."""
    return _any(connection, or_(_open_to(runner, now, besides), _left_behind(now)))


def take(
    connection: Connection, runner: str, now: datetime, *, lease_s: float, besides: Collection[str] = ()
) -> Replay | None:
    """Lease a job that is ``running`` or ``sent``, if there is one that no other runner has a live lease of.

    Running ones come first, then the one that was left alone longest. Those of ``besides`` are not wanted.
    """
    _clear_up(connection, now)
    column = replays.c
    due = (
        select(column.id)
        .where(_open_to(runner, now, besides))
        .order_by(column.state, column.leased_until.nulls_first(), column.created_at, column.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    replay_id = connection.execute(due).scalar()
    if replay_id is None:
        return None
    leased = {"runner": runner, "leased_until": now + timedelta(seconds=lease_s)}
    connection.execute(update(replays).filter_by(id=replay_id).values(leased))
    return get(connection, replay_id)


def renew(
    connection: Connection, replay_id: str, runner: str, now: datetime, lease_s: float
) -> Replay | None:
    """Lengthen the lease; return the job as it is now, perhaps paused or cancelled; None if it was lost."""
    until = now + timedelta(seconds=lease_s)
    kept = update(replays).filter_by(id=replay_id, runner=runner).values(leased_until=until)
    return get(connection, replay_id) if connection.execute(kept).rowcount else None


def release(connection: Connection, replay_id: str, runner: str) -> None:
    """Give the lease up, so that another need not wait for its end."""
    kept = update(replays).filter_by(id=replay_id, runner=runner)
    connection.execute(kept.values(runner=None, leased_until=None))


def claim_items(connection: Connection, replay_id: str, limit: int, *, below: int) -> list[Item]:
    """Mark the next items with a position under ``below`` as ``sending``; return them in order, as they were.

    Those that were ``sending`` already (``unsure``) come first. There are none unless the job is running. An
    item whose letter was forgotten meanwhile is skipped.
    """
    if locked(connection, replay_id).state != "running":
        return []
    unsure = _next(connection, replay_id, "sending", limit, below)
    fresh = _next(connection, replay_id, "waiting", limit - len(unsure), below)
    if fresh:
        claimed = _of(replay_id, _item.state == "waiting", _item.position <= fresh[-1].position)
        connection.execute(update(replay_items).where(claimed).values(state="sending", state_at=_now()))
    rows = [*unsure, *fresh]
    found = with_letters(connection, rows)
    forgotten = {row.position for row in rows}.difference(one.position for one in found)
    mark_skipped(connection, replay_id, dict.fromkeys(forgotten, "the letter was forgotten"))
    return found


def mark_sent(connection: Connection, replay_id: str, positions: Collection[int]) -> None:
    """Note that these are confirmed. What was told of one before that, delivered say, stays."""
    if not positions:
        return
    sending = _of(replay_id, _item.state == "sending", _item.position.in_(positions))
    in_order = select(_item.position).where(sending).order_by(_item.letter_id)  # as settling locks them
    sent = _of(replay_id, _item.position.in_(in_order.with_for_update()))
    connection.execute(update(replay_items).where(sent).values(state="sent", state_at=_now()))


def mark_skipped(connection: Connection, replay_id: str, reasons: Mapping[int, str]) -> None:
    """Note why these were not sent, by position; their letters are ``dead`` again, as they were."""
    positions_of: defaultdict[str, list[int]] = defaultdict(list)
    for position, reason in reasons.items():
        positions_of[reason].append(position)
    for reason, positions in positions_of.items():
        unsent = _of(replay_id, _item.state.in_(("waiting", "sending")), _item.position.in_(positions))
        _give_back(connection, replay_id, unsent, _now(), state="skipped", detail=reason)


def advance(connection: Connection, replay_id: str, stage: int) -> Replay:
    """Let the items with a position below ``stage`` be sent; a stage is never taken back."""
    column = replays.c
    lower = update(replays).where(column.id == replay_id, column.stage < stage)
    connection.execute(lower.values(stage=stage))
    return get(connection, replay_id)


def settle_state(connection: Connection, replay_id: str) -> Replay:
    """Turn a running job to ``sent`` when nothing waits, and that to ``done`` when nothing is open."""
    before = locked(connection, replay_id)
    if before.state not in ("running", "sent") or not is_all_out(connection, replay_id, below=before.total):
        return before
    now = _now()
    values: dict[str, Any] = {"state": "sent", "state_at": now}
    if not _any(connection, _of(replay_id, _item.state == "sent")):
        values = {"state": "done", "state_at": now, "ended_at": now}
    if values["state"] != before.state:
        connection.execute(update(replays).filter_by(id=replay_id).values(values))
    return get(connection, replay_id)


def is_all_out(connection: Connection, replay_id: str, *, below: int) -> bool:
    """Tell whether no item with a position under ``below`` is still to be sent."""
    return not any(
        _any(connection, _of(replay_id, _item.state == state, _item.position < below))
        for state in ("sending", "waiting")
    )


def take_back(connection: Connection, replay_id: str, state: ItemState, detail: str, at: datetime) -> None:
    """Cancel the items in a state; their letters are ``dead`` again, as they were."""
    unsent = _of(replay_id, _item.state == state)
    _give_back(connection, replay_id, unsent, at, state="cancelled", detail=detail)


def _clear_up(connection: Connection, now: datetime) -> None:
    """End cancelled jobs whose runner was lost while it was sending."""
    left_behind = select(replays.c.id).where(_left_behind(now)).with_for_update(skip_locked=True)
    for replay_id in connection.execute(left_behind).scalars().all():
        take_back(connection, replay_id, "sending", "it is not known whether it was sent", now)
        connection.execute(update(replays).filter_by(id=replay_id).values(ended_at=now))


def _open_to(runner: str, now: datetime, besides: Collection[str]) -> ColumnElement[bool]:
    column = replays.c
    is_free = or_(column.runner == runner, _unleased(now))
    return and_(column.state.in_(("running", "sent")), is_free, column.id.not_in(besides))


def _left_behind(now: datetime) -> ColumnElement[bool]:
    column = replays.c
    return and_(column.state == "cancelled", column.ended_at.is_(None), _unleased(now))


def _unleased(now: datetime) -> ColumnElement[bool]:
    column = replays.c
    return or_(column.leased_until.is_(None), column.leased_until <= now)


def _of(replay_id: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(_item.replay_id == replay_id, *conditions)


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    return bool(connection.execute(select(exists().where(condition))).scalar_one())


def _next(
    connection: Connection, replay_id: str, state: ItemState, limit: int, below: int
) -> Sequence[Row[Any]]:
    waiting = select(replay_items).where(_of(replay_id, _item.state == state, _item.position < below))
    return connection.execute(waiting.order_by(_item.position).limit(limit)).all()


def _give_back(
    connection: Connection, replay_id: str, unsent: ColumnElement[bool], at: datetime, **values: str
) -> None:
    """End items of a job that were not sent; their letters are ``dead`` again, as they were."""
    column = letters.c
    ids = sorted(connection.execute(select(_item.letter_id).where(unsent)).scalars())
    mine = and_(
        column.id.in_(among(connection, ids)), column.state == "replaying", column.replay_id == replay_id
    )
    dead = {"state": "dead", "state_at": at, "state_reason": ""}
    connection.execute(update(letters).where(mine).values(dead))
    connection.execute(update(replay_items).where(unsent).values(state_at=at, **values))


def _now() -> datetime:
    return datetime.now(UTC)
