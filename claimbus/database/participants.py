"""Organisations, the participants they own, and the people to tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, select, update

from claimbus.database import audit, names
from claimbus.database.audit import Act, Subject
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.database.schema import contacts, endpoints, organisations, participants
from claimbus.database.statements import insert_new
from claimbus.events.routing import check_pattern, matches

EVERY_TYPE: Final = ("#",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Who receives. ``event_types`` are the patterns of the types open to it; without any it gets nothing."""

    id: str
    organisation_id: str
    event_types: tuple[str, ...]
    created_at: datetime

    def is_entitled(self, event_type: str) -> bool:
        """Tell whether events of this type are open to it."""
        return any(matches(pattern, event_type) for pattern in self.event_types)


def add_organisation(connection: Connection, organisation_id: str, act: Act) -> bool:
    """Add an organisation unless it is there; tell whether it was added."""
    names.check_name("organisation", organisation_id)
    values = {"id": organisation_id, "created_at": act.at}
    if not insert_new(connection, organisations, values):
        return False
    audit.append(connection, act, "added", Subject("organisation", organisation_id, organisation_id))
    return True


def find_organisations(connection: Connection) -> tuple[str, ...]:
    """Return the IDs of all organisations, sorted."""
    return tuple(connection.execute(select(organisations.c.id).order_by(organisations.c.id)).scalars())


def add_contact(connection: Connection, organisation_id: str, email: str, act: Act) -> bool:
    """Add an e-mail address to tell things to, unless it is there; tell whether it was added."""
    names.check_email(email)
    values = {"organisation_id": organisation_id, "email": email, "created_at": act.at}
    if not insert_new(connection, contacts, values):
        return False
    audit.append(connection, act, "added", Subject("contact", email, organisation_id))
    return True


def remove_contact(connection: Connection, organisation_id: str, email: str, act: Act) -> None:
    """Tell somebody nothing any more. Raises NotFoundError for who is no contact of the organisation."""
    gone = delete(contacts).filter_by(organisation_id=organisation_id, email=email)
    if not connection.execute(gone).rowcount:
        raise NotFoundError("contact", f"{email!r:.120} is no contact of {organisation_id}")
    audit.append(connection, act, "removed", Subject("contact", email, organisation_id))


def contacts_of(connection: Connection, organisation_id: str) -> tuple[str, ...]:
    """Return the e-mail addresses of an organisation, sorted."""
    query = select(contacts.c.email).filter_by(organisation_id=organisation_id).order_by(contacts.c.email)
    return tuple(connection.execute(query).scalars())


def add(
    connection: Connection,
    participant_id: str,
    organisation_id: str,
    act: Act,
    *,
    event_types: tuple[str, ...] = EVERY_TYPE,
) -> Participant:
    """Add a participant, and its organisation if that is new. Raises DuplicateError, InvalidInputError."""
    names.check_participant_id(participant_id)
    _check_types(event_types)
    add_organisation(connection, organisation_id, act)
    values = {
        "id": participant_id,
        "organisation_id": organisation_id,
        "event_types": list(event_types),
        "created_at": act.at,
    }
    if not insert_new(connection, participants, values):
        raise DuplicateError("participant", f"{participant_id} is there already")
    added = get(connection, participant_id)
    _note(connection, act, "added", added, None)
    return added


def get(connection: Connection, participant_id: str) -> Participant:
    """Return a participant. Raises NotFoundError."""
    row = connection.execute(select(participants).filter_by(id=participant_id)).mappings().first()
    if row is None:
        raise NotFoundError("participant", f"there is no participant {participant_id!r:.60}")
    return _participant(row)


def find(connection: Connection, *, organisation_id: str | None = None) -> tuple[Participant, ...]:
    """Return all participants, or an organisation's, by ID."""
    query = select(participants).order_by(participants.c.id)
    if organisation_id is not None:
        query = query.filter_by(organisation_id=organisation_id)
    return tuple(map(_participant, connection.execute(query).mappings()))


def move(connection: Connection, participant_id: str, organisation_id: str, act: Act) -> Participant:
    """Give a participant to another organisation, which is added if it is new."""
    add_organisation(connection, organisation_id, act)
    return _change(connection, participant_id, act, "moved", {"organisation_id": organisation_id})


def open_event_types(
    connection: Connection, participant_id: str, patterns: tuple[str, ...], act: Act
) -> Participant:
    """Open exactly the event types that these patterns match; none closes them all.

    The revisions of its endpoints grow: workers then see to their bindings.
    """
    _check_types(patterns)
    of_participant = update(endpoints).filter_by(participant_id=participant_id)
    connection.execute(of_participant.values(revision=endpoints.c.revision + 1))
    return _change(connection, participant_id, act, "event types opened", {"event_types": list(patterns)})


def _change(
    connection: Connection, participant_id: str, act: Act, action: str, values: Mapping[str, Any]
) -> Participant:
    before = get(connection, participant_id)
    connection.execute(update(participants).filter_by(id=participant_id).values(**values))
    after = get(connection, participant_id)
    if after != before:
        _note(connection, act, action, after, before)
    return after


def _note(
    connection: Connection, act: Act, action: str, after: Participant, before: Participant | None
) -> None:
    audit.append(
        connection,
        act,
        action,
        Subject("participant", after.id, after.organisation_id),
        before=None if before is None else _state(before),
        after=_state(after),
    )


def _state(participant: Participant) -> audit.State:
    return {
        "organisation_id": participant.organisation_id,
        "event_types": list(participant.event_types),
    }


def _participant(row: RowMapping) -> Participant:
    return Participant(
        id=row["id"],
        organisation_id=row["organisation_id"],
        event_types=tuple(row["event_types"]),
        created_at=row["created_at"],
    )


def _check_types(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        check_pattern(pattern)
