"""Participants: what they own, what is open to them, who is told of their endpoints' troubles."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from claimbus.database import directory, endpoints, entitlements, participants
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.entitlements import Entitlement
from claimbus.database.page import Page
from claimbus.database.participants import Participant
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection


_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A participant with all that belongs to it.

    ``contacts`` are its organisation's, for who acts for all of that; for others empty.
    """

    participant: Participant
    contacts: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    entitlements: tuple[Entitlement, ...]


async def find(services: Services, who: Principal, *, text: str = "") -> tuple[Participant, ...]:
    """Return those that somebody may see; ``text`` is in the ID or in the organisation's."""
    return (await page(services, who, text=text, limit=_ALL)).rows


async def page(
    services: Services, who: Principal, *, text: str = "", cursor: str | None = None, limit: int = 50
) -> Page[Participant]:
    """Return them as `find` does, a page at a time."""
    seen = scope.seen_by(who)
    return await services.database.read(
        lambda sql: directory.participants(sql, ids=seen, text=text.strip(), cursor=cursor, limit=limit)
    )


async def get(services: Services, who: Principal, participant_id: str) -> Whole:
    """Return one, with what belongs to it."""

    def looking(sql: "Connection") -> Whole:
        found = scope.participant_of(sql, who, participant_id)
        told = scope.is_for_all_of(sql, who, found.organisation_id)
        contacts = participants.contacts_of(sql, found.organisation_id) if told else ()
        return Whole(
            participant=found,
            contacts=contacts,
            endpoints=endpoints.find(sql, participant_id=participant_id),
            entitlements=entitlements.find(sql, participant_id=participant_id),
        )

    return await services.database.read(looking)


async def add(
    services: Services,
    who: Principal,
    participant_id: str,
    organisation_id: str,
    *,
    new_organisation: bool = False,
    patterns: Collection[str] = participants.EVERY_TYPE,
    reason: str = "",
) -> Participant:
    """Add one, and its organisation too if that is said to be new: a slip of the pen founds none.

    Raises DuplicateError, and InvalidInputError naming the argument at fault.
    """
    scope.must_be(who, Role.OPERATOR)
    act, types = Act(who.name, reason), tuple(patterns)

    def adding(sql: "Connection") -> Participant:
        if not (new_organisation or organisation_id in participants.find_organisations(sql)):
            told = f"{organisation_id!r:.120} is not known; say so if it is new"
            raise InvalidInputError("organisation", told)
        return participants.add(sql, participant_id, organisation_id, act, event_types=types)

    return await services.database.run(adding)


async def organisations(services: Services, who: Principal) -> tuple[str, ...]:
    """Return the organisations that there are, by name."""
    scope.must_be(who, Role.OPERATOR)
    return await services.database.read(participants.find_organisations)


async def entitle(
    services: Services, who: Principal, entitlement: Entitlement, *, new: bool = False, reason: str = ""
) -> Entitlement:
    """Say that a participant owns a resource, or until when: events on it are for its owners.

    Raises InvalidInputError for what it owns within this time already; ``new``: by one that begins then, too.
    """
    scope.must_be(who, Role.OPERATOR)
    act = Act(who.name, reason)

    def entitling(sql: "Connection") -> None:
        entitlements.must_not_overlap(sql, entitlement, new=new)
        entitlements.put(sql, [entitlement], act)

    await services.database.run(entitling)
    return entitlement


async def open_event_types(
    services: Services, who: Principal, participant_id: str, patterns: Collection[str], *, reason: str = ""
) -> Participant:
    """Say which event types are open to one; without any it gets nothing. Workers bind anew within 30 s."""
    scope.must_be(who, Role.OPERATOR)
    act, types = Act(who.name, reason), tuple(patterns)
    return await services.database.run(
        lambda sql: participants.open_event_types(sql, participant_id, types, act)
    )


async def add_contact(
    services: Services, who: Principal, participant_id: str, email: str, *, reason: str = ""
) -> tuple[str, ...]:
    """Let somebody be told of the troubles of an organisation's endpoints; return all its contacts.

    Raises ForbiddenError for who acts for some of its participants only: it would learn of the others'.
    """
    act = Act(who.name, reason)

    def adding(sql: "Connection", organisation_id: str) -> None:
        participants.add_contact(sql, organisation_id, email, act)

    return await _change_contacts(services, who, participant_id, adding)


async def remove_contact(
    services: Services, who: Principal, participant_id: str, email: str, *, reason: str = ""
) -> tuple[str, ...]:
    """Tell somebody nothing any more; return the contacts that are left. Raises as `add_contact` does."""
    act = Act(who.name, reason)

    def removing(sql: "Connection", organisation_id: str) -> None:
        participants.remove_contact(sql, organisation_id, email, act)

    return await _change_contacts(services, who, participant_id, removing)


async def _change_contacts(
    services: Services, who: Principal, participant_id: str, change: Callable[["Connection", str], None]
) -> tuple[str, ...]:
    scope.must_be(who, *scope.KEEPING)

    def changing(sql: "Connection") -> tuple[str, ...]:
        found = scope.participant_of(sql, who, participant_id)
        if not scope.is_for_all_of(sql, who, found.organisation_id):
            raise ForbiddenError
        change(sql, found.organisation_id)
        return participants.contacts_of(sql, found.organisation_id)

    return await services.database.run(changing)
