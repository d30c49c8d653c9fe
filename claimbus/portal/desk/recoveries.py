"""Recoveries: an endpoint gets what it missed since a time, while its UAA looks on.

A recovery runs in the portal that began it, and ends with it; every portal tells how far it is. What it sends
is in the audit, from its begin on.
"""

import asyncio
from base64 import b32encode
from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

import structlog

from claimbus.database import audit, recoveries
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import NotFoundError
from claimbus.database.page import Page
from claimbus.database.recoveries import WHY_LOST, Recovery, State
from claimbus.deadletters import recover
from claimbus.events.errors import ClaimbusError, InvalidInputError, UnavailableError
from claimbus.events.routing import check_pattern
from claimbus.portal.desk import journal, memory, patience, rates, scope
from claimbus.portal.problems import RETRY_AFTER, ForbiddenError, ProblemError
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Recovery", "State", "TooManyError", "find", "get", "start", "stop"]

AT_ONCE: Final = 8
"""Recoveries that run in a portal at a time: each reads the journal."""

EACH: Final = 2
"""How many of them are one principal's: nobody takes all the places."""

BEAT: Final = 1.0
"""Seconds between two signs of a recovery that it lives, and how far it is."""

STOPPED: Final = "the portal was stopped"
WRONG: Final = "something went wrong here"
BROKE_OFF: Final = "it broke off; what was not sent may be recovered again"
"""Why one failed, to all but operators, unless the portal has words of its own: servers name themselves."""

_log: Final = structlog.get_logger("claimbus.portal.desk")


class TooManyError(ProblemError, UnavailableError):
    """As many recoveries run as may."""

    def __init__(self, told: str) -> None:
        told = f"{told}; try again when one has ended"
        super().__init__(503, told, headers={"retry-after": str(RETRY_AFTER)})


class _Running(dict[str, Hashable]):
    """Those that run in a portal: whose each is, by its ID."""


async def start(
    services: Services,
    who: Principal,
    endpoint_id: str,
    since: datetime,
    *,
    until: datetime | None = None,
    type_: str | None = None,
    all_: bool = False,
    reason: str = "",
) -> str:
    """Begin to deliver what an endpoint missed from ``since`` on; ``all_``: what it got, too. Returns its ID.

    Raises InvalidInputError naming the argument at fault, DuplicateError while another one runs for it,
    TooManyError, and `rates.TooOftenError`.
    """
    endpoint = await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))
    _check(endpoint, since, until, type_)
    patience.must_be_connected(services)
    rates.take(services, rates.RECOVERING, who, endpoint_id)
    now = datetime.now(UTC)
    begun = Recovery(
        id="rv_" + b32encode(token_bytes(10)).decode().lower(),
        endpoint_id=endpoint.id,
        participant_id=endpoint.participant_id,
        actor=who.name,
        reason=reason,
        since=max(since, journal.EPOCH),
        until=until,
        type=type_,
        everything=all_,
        begun_at=now,
        beat_at=now,
    )
    kept = memory.of(services)
    running = kept.the(_Running)
    if sum(whose == who.key for whose in running.values()) >= EACH:
        raise TooManyError(f"{EACH} recoveries of yours are running")
    if len(running) >= AT_ONCE:
        raise TooManyError(f"{AT_ONCE} recoveries are running")
    running[begun.id] = who.key
    try:
        await services.database.run(lambda sql: recoveries.begin(sql, begun))
    except BaseException:
        del running[begun.id]
        raise
    kept.start(_run(services, begun, running), f"recovers {endpoint.id}")
    return begun.id


async def find(
    services: Services,
    who: Principal,
    *,
    endpoint_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Recovery]:
    """Return those that somebody may see, the newest first, whatever portal they run in."""
    seen = scope.seen_by(who)

    def looking(sql: "Connection") -> Page[Recovery]:
        if endpoint_id is not None:
            scope.endpoint_of(sql, who, endpoint_id)
        page = recoveries.find(sql, participant_ids=seen, endpoint_id=endpoint_id, cursor=cursor, limit=limit)
        return Page(tuple(_told(who, one) for one in page.rows), page.cursor)

    return await services.database.read(looking)


async def get(services: Services, who: Principal, recovery_id: str) -> Recovery:
    """Return one. Raises ForbiddenError, and for operators NotFoundError."""
    seen = scope.seen_by(who)
    try:
        found = await services.database.read(lambda sql: recoveries.get(sql, recovery_id))
    except NotFoundError:
        if who.is_one_of(Role.OPERATOR):
            raise
        raise ForbiddenError from None
    if seen is not None and found.participant_id not in seen:
        raise ForbiddenError
    return _told(who, found)


async def stop(services: Services, who: Principal, recovery_id: str, *, reason: str = "") -> Recovery:
    """Stop one that runs, in whatever portal: within some seconds nothing more is sent. Returns it stopped.

    Raises InvalidInputError for one that has ended, and what `get` raises.
    """
    scope.must_be(who, *scope.KEEPING)
    act, found = Act(who.name, reason), await get(services, who, recovery_id)

    def stopping(sql: "Connection") -> Recovery:
        endpoint = scope.endpoint_of(sql, who, found.endpoint_id, keep=True)
        recoveries.stop(sql, recovery_id, act)
        subject = Subject("endpoint", endpoint.id, endpoint.organisation_id)
        audit.append(sql, act, "recovery stopped", subject, after={"recovery": recovery_id})
        return recoveries.get(sql, recovery_id)

    return await services.database.run(stopping)


def _told(who: Principal, found: Recovery) -> Recovery:
    """Return a recovery as somebody may read it."""
    if who.is_one_of(Role.OPERATOR) or found.state != "failed" or found.why in {WHY_LOST, STOPPED, WRONG}:
        return found
    return replace(found, why=BROKE_OFF)


async def _run(services: Services, begun: Recovery, running: _Running) -> None:
    """Carry one out, and write down how far it is, until it has ended."""
    read = total = 0

    def is_at(read_: int, total_: int) -> None:
        nonlocal read, total
        read, total = read_, total_

    course = recover.Recovery(
        services.database,
        services.store,
        services.consuming,
        services.publisher,
        claim_life=services.claim_life,
    ).run(
        begun.endpoint_id,
        begun.since,
        act=Act(begun.actor, begun.reason),
        until=begun.until,
        type_pattern=begun.type,
        everything=begun.everything,
        rate=services.replay_rate,
        on_progress=is_at,
    )
    work = asyncio.create_task(course, name=f"recovers {begun.endpoint_id}")
    ended = replace(begun, state="failed", why=STOPPED)
    try:
        while not (await asyncio.wait({work}, timeout=BEAT))[0]:
            if not await _beat(services, begun, read, total):
                ended = replace(ended, why=WHY_LOST)
                return
        ended = replace(ended, state="done", why="", recovered=work.result().counts())
    except ClaimbusError as failed:
        ended = replace(ended, why=str(failed))
    except Exception:  # noqa: BLE001 - logged, and told as the end
        _log.exception("a recovery broke off", recovery=begun.id, endpoint=begun.endpoint_id)
        ended = replace(ended, why=WRONG)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        del running[begun.id]
        await _end(services, replace(ended, ended_at=datetime.now(UTC), read=read, total=total))


async def _beat(services: Services, begun: Recovery, read: int, total: int) -> bool:
    """Tell that it lives; return whether it may go on: it may as long as nobody knows better."""
    try:
        return await services.database.run(
            lambda sql: recoveries.beat(sql, begun.id, read=read, total=total, now=datetime.now(UTC))
        )
    except UnavailableError as away:
        _log.warning(
            "progress of a recovery not noted", recovery=begun.id, reason=str(away), next="try again"
        )
        return True


async def _end(services: Services, ended: Recovery) -> None:
    try:
        await services.database.run(lambda sql: recoveries.end(sql, ended))
    except UnavailableError as away:
        told = {"recovery": ended.id, "endpoint": ended.endpoint_id, "state": ended.state, "why": ended.why}
        _log.warning("end of a recovery not noted", **told, reason=str(away), next="it will count as failed")


def _check(endpoint: Endpoint, since: datetime, until: datetime | None, type_: str | None) -> None:
    if endpoint.removed_at is not None:
        raise InvalidInputError("endpoint", "was removed; there is nowhere to deliver to")
    if since >= datetime.now(UTC):
        raise InvalidInputError("since", "is not in the past")
    if until is not None and until <= since:
        raise InvalidInputError("until", "is not later than since")
    if type_ is not None:
        try:
            check_pattern(type_)
        except InvalidInputError as wrong:
            raise InvalidInputError("type", wrong.reason) from wrong
