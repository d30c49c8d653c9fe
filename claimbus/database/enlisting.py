"""Making a replay: letters are enlisted, each in one job at most, and lined up in the order of sending."""

import math
from base64 import b32encode
from collections.abc import Collection, Mapping
from datetime import datetime
from secrets import token_bytes
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select, update

from claimbus.database import audit
from claimbus.database.audit import Act, Subject
from claimbus.database.given import among
from claimbus.database.replay_rows import STAGES, Replay, get
from claimbus.database.schema import Moment, letters, replay_items, replay_participants, replays
from claimbus.events.errors import InvalidInputError

DOUBLE: Final = "a newer letter of the same delivery is sent"
"""Why a letter is skipped that would bring an endpoint the same event twice."""


def create(
    connection: Connection,
    ids: Collection[str],
    act: Act,
    *,
    selection: Mapping[str, Any],
    rate: float | None,
    canary: bool,
    skipped: Mapping[str, str] = {},
) -> Replay:
    """Make a job of these letters; ``selection`` is told of it, in what JSON can hold.

    Letters that are not ``dead`` any more are left out. Those of ``skipped``, among the ids or not, are not
    sent but become items that say why. Raises InvalidInputError for a rate that is none, and when there is no
    letter to send.
    """
    if rate is not None and not 0 < rate < math.inf:
        raise InvalidInputError("rate", f"{rate} is no number of deliveries a second")
    replay_id = "rp_" + b32encode(token_bytes(10)).decode().lower()
    enlisted = _enlist(connection, set(ids).difference(skipped), replay_id, act.at)
    if not enlisted:
        raise InvalidInputError("selection", "has no dead letter that can be sent")
    doubles = _dismiss_doubles(connection, replay_id, act.at)
    left_out = {**_still_dead(connection, skipped), **dict.fromkeys(doubles, DOUBLE)}
    sending = enlisted - len(doubles)
    total = sending + len(left_out)
    row = {
        "id": replay_id,
        "state": "running",
        "state_at": act.at,
        "state_reason": "",
        "actor": act.actor,
        "reason": act.reason,
        "selection": selection,
        "rate": rate,
        "canary": canary,
        "keep_going": False,
        "stage": STAGES[0] if canary else total,
        "total": total,
        "created_at": act.at,
    }
    connection.execute(insert(replays), row)
    _line_up(connection, replay_id, act.at)
    _add_skipped(connection, replay_id, act.at, left_out, first=sending)
    _note_whose(connection, replay_id)
    told = {"letters": sending, "skipped": len(left_out), "rate": rate, "canary": canary}
    subject = Subject("replay", replay_id)
    audit.append(connection, act, "created", subject, after={**told, "selection": selection})
    return get(connection, replay_id)


def _enlist(connection: Connection, ids: Collection[str], replay_id: str, at: datetime) -> int:
    """Take the letters that are still ``dead`` into the job; return how many."""
    column = letters.c
    # Locked in one order, so that jobs made at once wait for each other and do not lock each other up.
    dead = select(column.id).where(column.id.in_(among(connection, ids)), column.state == "dead")
    taken = update(letters).where(column.id.in_(dead.order_by(column.id).with_for_update()))
    values = {"state": "replaying", "state_at": at, "state_reason": "", "replay_id": replay_id}
    return connection.execute(taken.values(values)).rowcount


def _dismiss_doubles(connection: Connection, replay_id: str, at: datetime) -> list[str]:
    """Let go of letters whose delivery has a newer one in the job; a recovery that failed makes such ones."""
    column = letters.c
    delivery = column.endpoint_id, column.message_id
    age = func.row_number().over(partition_by=delivery, order_by=column.number.desc()).label("age")
    ages = select(column.id, age).where(*_of(replay_id), column.message_id.is_not(None)).subquery()
    doubles = list(connection.execute(select(ages.c.id).where(ages.c.age > 1)).scalars())
    if doubles:
        let_go = update(letters).where(column.id.in_(among(connection, doubles)))
        connection.execute(let_go.values(state="dead", state_at=at))
    return doubles


def _still_dead(connection: Connection, skipped: Mapping[str, str]) -> dict[str, str]:
    """Return those of these letters that are still ``dead``, with the reasons, in the order of recording."""
    column = letters.c
    still = select(column.id).where(column.id.in_(among(connection, skipped)), column.state == "dead")
    return {one: skipped[one] for one in connection.execute(still.order_by(column.number)).scalars()}


def _line_up(connection: Connection, replay_id: str, at: datetime) -> None:
    """Put the job's letters in the order of sending: endpoints take turns, the oldest event of each first."""
    column = letters.c
    oldest_first = (column.timestamp, column.sequence.nulls_first(), column.number)
    turn = func.row_number().over(partition_by=column.endpoint_id, order_by=oldest_first).label("turn")
    turns = select(column.id, column.endpoint_id, turn).where(*_of(replay_id)).subquery()
    position = func.row_number().over(order_by=(turns.c.turn, turns.c.endpoint_id)) - 1
    lined_up = select(
        literal(replay_id), position, turns.c.id, literal("waiting"), literal(at, Moment), literal("")
    )
    names = ["replay_id", "position", "letter_id", "state", "state_at", "detail"]
    connection.execute(insert(replay_items).from_select(names, lined_up))


def _of(replay_id: str) -> tuple[ColumnElement[bool], ...]:
    # The state, too, because there is no index by job.
    return letters.c.state == "replaying", letters.c.replay_id == replay_id


def _add_skipped(
    connection: Connection, replay_id: str, at: datetime, reasons: Mapping[str, str], *, first: int
) -> None:
    """Add items for what is not sent: behind those that are, of which the first is the canary."""
    rows = [
        {
            "replay_id": replay_id,
            "position": position,
            "letter_id": letter_id,
            "state": "skipped",
            "state_at": at,
            "detail": reason,
        }
        for position, (letter_id, reason) in enumerate(reasons.items(), first)
    ]
    if rows:
        connection.execute(insert(replay_items), rows)


def _note_whose(connection: Connection, replay_id: str) -> None:
    """Note whose letters the job has."""
    items = select(replay_items.c.letter_id).filter_by(replay_id=replay_id)
    owner = func.coalesce(letters.c.participant_id, "")
    whose = select(literal(replay_id), owner).distinct().where(letters.c.id.in_(items))
    connection.execute(insert(replay_participants).from_select(["replay_id", "participant_id"], whose))
