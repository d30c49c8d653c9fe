"""Replays: how far they are, and who may stop them.

Operators see all; UAAs those that they made, as long as all their letters are of participants of theirs.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from claimbus.database import replays
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.database.errors import NotFoundError
from claimbus.database.page import Page
from claimbus.database.replay_rows import Item, ItemState, Progress, Replay, State
from claimbus.portal.desk import memory, scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

Turn = Callable[["Connection", str, Act], Replay]


class _Done(dict[str, Progress]):
    """How jobs that are done came out, by their IDs: that changes no more, and to count reads every item."""


async def find(
    services: Services,
    who: Principal,
    states: Collection[State] | None = None,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[tuple[Replay, Progress]]:
    """Return jobs that somebody may see, the newest first, each with how far it is."""
    scope.must_be(who, *scope.KEEPING)
    sees_all = who.is_one_of(Role.OPERATOR)
    done = memory.of(services).the(_Done)

    def looking(sql: "Connection") -> Page[tuple[Replay, Progress]]:
        page = replays.find(
            sql,
            states,
            actor=None if sees_all else who.name,
            participant_ids=None if sees_all else who.participant_ids,
            cursor=cursor,
            limit=limit,
        )
        counted = replays.progresses(sql, [one.id for one in page.rows if one.id not in done])
        done.update(
            (one.id, counted[one.id]) for one in page.rows if one.state == "done" and one.id in counted
        )
        progress = done | counted
        return Page(tuple((one, progress[one.id]) for one in page.rows), page.cursor)

    return await services.database.read(looking)


async def get(services: Services, who: Principal, replay_id: str) -> tuple[Replay, Progress]:
    """Return a job, and how far it is."""

    def looking(sql: "Connection") -> tuple[Replay, Progress]:
        return _job(sql, who, replay_id), replays.progress(sql, replay_id)

    return await services.database.read(looking)


async def items(
    services: Services,
    who: Principal,
    replay_id: str,
    states: Collection[ItemState] | None = None,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Item]:
    """Return a job's letters, in the order of sending."""

    def looking(sql: "Connection") -> Page[Item]:
        _job(sql, who, replay_id)
        return replays.items(sql, replay_id, states, cursor=cursor, limit=limit)

    return await services.database.read(looking)


async def pause(services: Services, who: Principal, replay_id: str, *, reason: str = "") -> Replay:
    """Send nothing more for now."""
    return await _turn(services, who, replay_id, replays.pause, reason)


async def resume(
    services: Services, who: Principal, replay_id: str, *, keep_going: bool = False, reason: str = ""
) -> Replay:
    """Go on; with ``keep_going`` no failure that comes back pauses it any more."""

    def resuming(sql: "Connection", id_: str, act: Act) -> Replay:
        return replays.resume(sql, id_, act, keep_going=keep_going)

    return await _turn(services, who, replay_id, resuming, reason)


async def cancel(services: Services, who: Principal, replay_id: str, *, reason: str = "") -> Replay:
    """End it: letters that were not sent are dead as before."""
    return await _turn(services, who, replay_id, replays.cancel, reason)


async def _turn(services: Services, who: Principal, replay_id: str, turn: Turn, reason: str) -> Replay:
    def turning(sql: "Connection") -> Replay:
        _job(sql, who, replay_id)
        return turn(sql, replay_id, Act(who.name, reason))

    return await services.database.run(turning)


def _job(sql: "Connection", who: Principal, replay_id: str) -> Replay:
    scope.must_be(who, *scope.KEEPING)
    try:
        found = replays.get(sql, replay_id)
    except NotFoundError:
        if who.is_one_of(Role.OPERATOR):
            raise
        raise ForbiddenError from None
    if not who.is_one_of(Role.OPERATOR) and not _is_own(sql, who, found):
        raise ForbiddenError
    return found


def _is_own(sql: "Connection", who: Principal, job: Replay) -> bool:
    """Tell whether somebody made it, and may see all its letters: others may have the same name."""
    if job.actor != who.name:
        return False
    concerned = replays.participants_of(sql, job.id)
    return bool(concerned) and concerned <= who.participant_ids
