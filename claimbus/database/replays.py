"""Replays: jobs that deliver dead letters again. What is decided about them, here, is audited.

A job is only rows, so it outlives the processes that carry it out (`replay_runs`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, tuple_, update

from claimbus.database import audit
from claimbus.database.audit import Act, Subject
from claimbus.database.enlisting import create
from claimbus.database.outcomes import settle
from claimbus.database.replay_rows import (
    Item,
    ItemState,
    Progress,
    Replay,
    State,
    find,
    get,
    items,
    locked,
    participants_of,
    progress,
    progresses,
)
from claimbus.database.replay_runs import (
    advance,
    any_to_take,
    claim_items,
    is_all_out,
    mark_sent,
    mark_skipped,
    release,
    renew,
    settle_state,
    take,
    take_back,
)
from claimbus.database.schema import replay_items, replay_participants, replays
from claimbus.events.errors import InvalidInputError

__all__ = [
    "Item",
    "ItemState",
    "Progress",
    "Replay",
    "State",
    "advance",
    "any_to_take",
    "cancel",
    "claim_items",
    "create",
    "find",
    "forget",
    "get",
    "is_all_out",
    "items",
    "mark_sent",
    "mark_skipped",
    "participants_of",
    "pause",
    "pause_by_itself",
    "progress",
    "progresses",
    "release",
    "renew",
    "resume",
    "settle",
    "settle_state",
    "take",
]


def pause(connection: Connection, replay_id: str, act: Act) -> Replay:
    """Send no further letter until `resume`.

    Raises NotFoundError, and InvalidInputError when nothing is left to send.
    """
    before = _unfinished(connection, replay_id)
    if before.state == "paused":
        return before
    return _change(connection, before, act, "paused", _turned("paused", act))


def pause_by_itself(connection: Connection, replay_id: str, reason: str) -> Replay:
    """Pause a running job, if it has anything left to send, until an operator resumes it."""
    before = locked(connection, replay_id)
    if before.state != "running" or is_all_out(connection, replay_id, below=before.total):
        return before
    act = Act("claimbus", reason)
    return _change(connection, before, act, "paused", _turned("paused", act))


def resume(connection: Connection, replay_id: str, act: Act, *, keep_going: bool = False) -> Replay:
    """Go on after a pause, and with the next stage if all of this one is out.

    With ``keep_going`` everything may go out, and the failure that comes back pauses the job no more.
    Raises NotFoundError, and InvalidInputError when nothing is left to send.
    """
    before = _unfinished(connection, replay_id)
    if before.state == "running" and before.keep_going >= keep_going:
        return before
    values = {**_turned("running", act), "resumed_at": act.at, "returned_at": None, "returned": None}
    if keep_going:
        values |= {"keep_going": True, "stage": before.total}
    elif is_all_out(connection, replay_id, below=before.stage):
        values["stage"] = before.next_stage
    return _change(connection, before, act, "resumed", values)


def cancel(connection: Connection, replay_id: str, act: Act) -> Replay:
    """Send no further letter at all; those that were not sent are ``dead`` again, as they were.

    What was sent is on its way and is told of when it arrives. Raises NotFoundError, and InvalidInputError
    when nothing is left to send.
    """
    before = _unfinished(connection, replay_id)
    take_back(connection, replay_id, "waiting", "", act.at)
    values = _turned("cancelled", act)
    if is_all_out(connection, replay_id, below=before.total):  # else when its runner has marked the rest
        values["ended_at"] = act.at
    return _change(connection, before, act, "cancelled", values)


def forget(connection: Connection, before: datetime, *, limit: int = 5000) -> int:
    """Delete items of jobs that ended before a moment, at most so many, and the jobs that have none left.

    Returns how many items. Repeat it, each time in a transaction of its own, until it returns 0.
    """
    ended = replays.c.ended_at < before
    key = tuple_(replay_items.c.replay_id, replay_items.c.position)
    old = select(replay_items.c.replay_id, replay_items.c.position)
    some = old.where(replay_items.c.replay_id.in_(select(replays.c.id).where(ended))).limit(limit)
    gone = connection.execute(delete(replay_items).where(key.in_(some))).rowcount
    if gone < limit:
        jobs = select(replays.c.id).where(ended)
        connection.execute(delete(replay_participants).where(replay_participants.c.replay_id.in_(jobs)))
        connection.execute(delete(replays).where(ended))
    return gone


def _unfinished(connection: Connection, replay_id: str) -> Replay:
    """Return a job that still has letters to send, locked until the transaction ends."""
    found = locked(connection, replay_id)
    match found.state:
        case "running" | "paused":
            return found
        case "sent":
            raise InvalidInputError("replay", "has sent everything already")
        case ended:
            raise InvalidInputError("replay", f"is {ended} already")


def _turned(state: State, act: Act) -> dict[str, Any]:
    return {"state": state, "state_at": act.at, "state_reason": act.reason}


def _change(
    connection: Connection, before: Replay, act: Act, action: str, values: Mapping[str, Any]
) -> Replay:
    connection.execute(update(replays).filter_by(id=before.id).values(values))
    after = get(connection, before.id)
    changed = [
        name for name in ("state", "stage", "keep_going") if getattr(before, name) != getattr(after, name)
    ]
    audit.append(
        connection,
        act,
        action,
        Subject("replay", before.id),
        before={name: getattr(before, name) for name in changed},
        after={name: getattr(after, name) for name in changed},
    )
    return after
