"""Who did what, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from claimbus.database import audit, endpoints, participants
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Entry
from claimbus.database.page import Page
from claimbus.portal.desk import scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries: those that pass every filter given; ``until`` is exclusive."""

    kind: str | None = None
    object_id: str | None = None
    organisation_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def find(
    services: Services, who: Principal, wanted: Wanted, *, cursor: str | None = None, limit: int = 50
) -> Page[Entry]:
    """Return entries, the newest first: all to operators and admins, to UAAs their organisation's own.

    A UAA of some only of its participants sees what was done to these and to their endpoints.
    """
    scope.must_be(who, Role.UAA, Role.OPERATOR, Role.ADMIN)
    organisation_id = wanted.organisation_id
    sees_all = who.is_one_of(Role.OPERATOR, Role.ADMIN)
    if not sees_all:
        if who.organisation_id is None or organisation_id not in {None, who.organisation_id}:
            raise ForbiddenError
        organisation_id = who.organisation_id

    def looking(sql: "Connection") -> Page[Entry]:
        return audit.find(
            sql,
            kind=wanted.kind,
            object_id=wanted.object_id,
            object_ids=None if sees_all else _own(sql, who),
            organisation_id=organisation_id,
            actor=wanted.actor,
            since=wanted.since,
            until=wanted.until,
            cursor=cursor,
            limit=limit,
        )

    return await services.database.read(looking)


def _own(sql: "Connection", who: Principal) -> frozenset[str] | None:
    """Return the objects of somebody's participants; None when these are all of their organisation."""
    of_organisation = participants.find(sql, organisation_id=who.organisation_id)
    if who.participant_ids.issuperset(one.id for one in of_organisation):
        return None
    kept = endpoints.find(sql, organisation_id=who.organisation_id, removed=True)
    ids = (one.id for one in kept if one.participant_id in who.participant_ids)
    return who.participant_ids.union(ids)
