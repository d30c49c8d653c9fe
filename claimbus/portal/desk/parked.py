"""Events on resources that nobody owned: operators see them, and let them go out."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from claimbus.database import entitlements, parked, participants
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.database.errors import NotFoundError
from claimbus.database.page import Page
from claimbus.database.parked import Parked
from claimbus.events.errors import InvalidInputError, UnavailableError
from claimbus.portal.desk import patience, scope
from claimbus.portal.problems import RETRY_AFTER, ProblemError
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

AT_ONCE: Final = 1000
"""Events of one release that names none; the rest waits for the next one."""

_ALL: Final = 100_000
"""Events that wait, at most, as far as a release looks; they are known to it without their bodies."""


class BrokenOffError(ProblemError, UnavailableError):
    """A release that did not come to its end; what did not go out is parked as before."""

    def __init__(self, out: int, wanted: int) -> None:
        told = f"{out:,} of {wanted:,} events went out, the rest stays parked: a service was away; try again"
        super().__init__(503, told, headers={"retry-after": str(RETRY_AFTER)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A parked event, and the participants that own its resource by now."""

    event: Parked
    owners: tuple[str, ...]


async def find(
    services: Services,
    who: Principal,
    *,
    released: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Waiting]:
    """Return the events that wait, or those that were released, the newest first."""
    scope.must_be(who, Role.OPERATOR)

    def looking(sql: "Connection") -> Page[Waiting]:
        page = parked.find(sql, released=released, cursor=cursor, limit=limit)
        return Page(tuple(_with_owners(sql, page.rows, datetime.now(UTC))), page.cursor)

    return await services.database.read(looking)


async def release(
    services: Services,
    who: Principal,
    message_ids: Collection[str] | None = None,
    *,
    to: frozenset[str] = frozenset(),
    reason: str = "",
) -> tuple[Waiting, ...]:
    """Publish these, or those that wait (`AT_ONCE`), to whoever owns their resources now, or to those named.

    Return what was chosen, each with whom it went to: to nobody if its resource has no owner, and then it
    stays parked. Raises NotFoundError for an event that does not wait, and for an unknown participant;
    InvalidInputError without a ``reason`` for others than the owners; BrokenOffError.
    """
    scope.must_be(who, Role.OPERATOR)
    if to and not reason.strip():
        raise InvalidInputError("reason", "say why others than their owners get them")
    act = Act(who.name, reason)

    def choosing(sql: "Connection") -> list[Waiting]:
        for one in to:
            participants.get(sql, one)
        return _with_owners(sql, _chosen(sql, message_ids), act.at)

    found = await services.database.read(choosing)
    chosen = [Waiting(event=one.event, owners=tuple(sorted(to)) or one.owners) for one in found]
    if message_ids is None:
        chosen = [one for one in chosen if one.owners][:AT_ONCE]
    owned = [one for one in chosen if one.owners]
    for out, one in enumerate(owned):
        try:
            await _publish(services, one, act)
        except UnavailableError as away:
            raise BrokenOffError(out, len(owned)) from away
    return tuple(chosen)


async def _publish(services: Services, one: Waiting, act: Act) -> None:
    id_, audience = one.event.message_id, frozenset(one.owners)
    event = await services.database.read(lambda sql: parked.event(sql, id_, audience))
    async with patience.bounded(services):
        await services.producer("oms").publish(event)
    await services.database.run(lambda sql: parked.mark_released(sql, [id_], act, to=audience))


def _chosen(sql: "Connection", message_ids: Collection[str] | None) -> list[Parked]:
    """Return the events to release, those of one outage in the order of their sequences."""
    waiting = {one.message_id: one for one in parked.find(sql, limit=_ALL).rows}
    for unknown in set(message_ids or ()) - waiting.keys():
        raise NotFoundError("event", f"no event {unknown!r:.80} is parked")
    chosen = waiting.values() if message_ids is None else [waiting[one] for one in message_ids]
    return sorted(chosen, key=lambda one: (one.resource_id, int(one.attributes.get("sequence", "0"))))


def _with_owners(sql: "Connection", events: Collection[Parked], at: datetime) -> list[Waiting]:
    owners = entitlements.owners(sql, {one.resource_id for one in events}, at)
    nobody: frozenset[str] = frozenset()
    return [Waiting(event=one, owners=tuple(sorted(owners.get(one.resource_id, nobody)))) for one in events]
