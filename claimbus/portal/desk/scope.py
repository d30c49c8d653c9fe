"""Who may see and do what. To all but operators, what is not theirs and what does not exist are alike."""

from typing import TYPE_CHECKING, Final

from claimbus.database import endpoints, participants
from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import Participant
from claimbus.portal.problems import ForbiddenError

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOOKING: Final = (Role.PARTICIPANT, Role.UAA, Role.OPERATOR)
KEEPING: Final = (Role.UAA, Role.OPERATOR)


def must_be(who: Principal, *roles: Role) -> None:
    """Raise ForbiddenError unless somebody has one of these roles."""
    if not who.is_one_of(*roles):
        raise ForbiddenError


def seen_by(who: Principal) -> frozenset[str] | None:
    """Return the IDs of the participants that somebody may look at; None for all of them.

    Raises ForbiddenError for who may look at nothing.
    """
    must_be(who, *LOOKING)
    return None if who.is_one_of(Role.OPERATOR) else who.participant_ids


def narrowed(who: Principal, participant_id: str | None) -> frozenset[str] | None:
    """Return `seen_by`, narrowed to one participant if it is given. Raises ForbiddenError for another's."""
    seen = seen_by(who)
    if participant_id is None:
        return seen
    if seen is not None and participant_id not in seen:
        raise ForbiddenError
    return frozenset({participant_id})


def participant_of(sql: "Connection", who: Principal, participant_id: str) -> Participant:
    """Return a participant. Raises ForbiddenError, and for operators NotFoundError."""
    narrowed(who, participant_id)
    return participants.get(sql, participant_id)


def endpoint_of(sql: "Connection", who: Principal, endpoint_id: str, *, keep: bool = False) -> Endpoint:
    """Return an endpoint to look at or, to ``keep`` it, to change. Raises as `participant_of` does."""
    must_be(who, *(KEEPING if keep else LOOKING))
    try:
        found = endpoints.get(sql, endpoint_id)
    except NotFoundError:
        if who.is_one_of(Role.OPERATOR):
            raise
        raise ForbiddenError from None
    narrowed(who, found.participant_id)
    return found


def is_for_all_of(sql: "Connection", who: Principal, organisation_id: str) -> bool:
    """Tell whether somebody may see and do what concerns an organisation as a whole: its contacts."""
    seen = seen_by(who)
    return seen is None or seen.issuperset(
        one.id for one in participants.find(sql, organisation_id=organisation_id)
    )
