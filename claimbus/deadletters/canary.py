"""Canaries: a replay's first letter, then ten more, show whether the rest may follow."""

from typing import TYPE_CHECKING

from claimbus.database import replays
from claimbus.database.replay_rows import STAGES
from claimbus.database.replays import Item, Replay

if TYPE_CHECKING:
    from sqlalchemy import Connection


def trouble(sql: "Connection", job: Replay) -> str | None:
    """Tell the operator why a running job should not go on by itself; None when it may.

    A canary that failed before the operator resumed the job counts no more: that was seen, and accepted.
    """
    for item in _canaries(sql, job):
        if _failed(item) and not _is_accepted(item, job):
            return f"the canary failed again at endpoint {item.letter.endpoint_id}: {item.detail}"
    if job.returned_at is not None and not job.keep_going:
        return f"the letters' failure came back: {job.returned}"
    return None


def passed(sql: "Connection", job: Replay) -> bool:
    """Tell whether every canary of the job's stage has arrived, was skipped, or failed and was accepted."""
    return all(
        item.state in ("delivered", "skipped") or (_failed(item) and _is_accepted(item, job))
        for item in _canaries(sql, job)
    )


def _canaries(sql: "Connection", job: Replay) -> tuple[Item, ...]:
    """Return the items that only this stage has let out; there are none once everything may go out."""
    if job.stage >= job.total:
        return ()
    first = max((stage for stage in STAGES if stage < job.stage), default=0)
    cursor = str(first - 1) if first else None
    return replays.items(sql, job.id, cursor=cursor, limit=job.stage - first).rows


def _failed(item: Item) -> bool:
    """Tell whether an attempt failed; another may follow."""
    return item.state == "dead again" or (item.state in ("sending", "sent") and item.detail != "")


def _is_accepted(item: Item, job: Replay) -> bool:
    return job.resumed_at is not None and item.state_at <= job.resumed_at
