"""Who somebody is to the portal, and what that opens to them.

Nothing is open by default. A credential (a token, a client certificate's subject) carries a `Grant`; whom it
makes of its bearer is a `Principal`, put together at each look-up, so that a participant's move to another
organisation, or an event type that is closed to it, counts at once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hmac import compare_digest
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select

from claimbus.database import participants
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import Participant
from claimbus.database.schema import certificates, organisations, tokens
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience


class Role(StrEnum):
    """What somebody may do: the first two for participants, the others for the ISO's own."""

    PARTICIPANT = "participant"
    """Receive what its participants may see."""
    UAA = "uaa"
    """That, and keep their endpoints."""
    PUBLISHER = "publisher"
    """Publish events."""
    OPERATOR = "operator"
    """See everything, and replay it."""
    ADMIN = "admin"
    """Say who may use the portal."""


_OF_PARTICIPANTS = frozenset({Role.PARTICIPANT, Role.UAA})


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential gives: roles, and for whom: a participant, all of an organisation's, or the ISO.

    Raises InvalidInputError for roles that do not fit together, or not with for whom they are.
    """

    roles: frozenset[Role]
    participant_id: str | None = None
    organisation_id: str | None = None

    def __post_init__(self) -> None:
        if not self.roles:
            raise InvalidInputError("role", "must be given, at least one")
        if self.participant_id is not None and self.organisation_id is not None:
            raise InvalidInputError(
                "organisation", "goes without a participant: it stands for all of its own"
            )
        owned = self.participant_id is not None or self.organisation_id is not None
        for role in sorted(self.roles):
            if (role in _OF_PARTICIPANTS) != owned:
                needs = "goes with a participant or an organisation" if not owned else "is the ISO's own only"
                raise InvalidInputError("role", f"{role} {needs}")

    @classmethod
    def of(cls, row: RowMapping) -> "Grant":
        """Read it from a row that has its columns."""
        roles = frozenset(map(Role, row["roles"]))
        return cls(roles, row["participant_id"], row["organisation_id"])

    def columns(self) -> dict[str, Any]:
        """Return its columns."""
        return {
            "roles": sorted(self.roles),
            "participant_id": self.participant_id,
            "organisation_id": self.organisation_id,
        }

    def owner(self, connection: Connection) -> str | None:
        """Return the organisation concerned, None for the ISO itself. Raises NotFoundError."""
        if self.participant_id is not None:
            return participants.get(connection, self.participant_id).organisation_id
        if self.organisation_id is not None:
            known = select(organisations.c.id).filter_by(id=self.organisation_id)
            if connection.execute(known).first() is None:
                raise NotFoundError("organisation", f"there is no organisation {self.organisation_id!r:.60}")
        return self.organisation_id

    def state(self) -> dict[str, Any]:
        """Return it for the audit."""
        return {name: value for name, value in self.columns().items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who was identified. ``name`` is for the audit; for whom it acts: ``participants``.

    ``organisation_id`` is theirs, None for the ISO's own. That a participant is of the same organisation
    opens nothing: only ``participants`` do.
    """

    name: str
    roles: frozenset[Role]
    organisation_id: str | None = None
    participants: tuple[Participant, ...] = ()

    @property
    def participant_ids(self) -> frozenset[str]:
        """The IDs of its participants."""
        return frozenset(one.id for one in self.participants)

    def is_one_of(self, *roles: Role) -> bool:
        """Tell whether it has any of these roles."""
        return not self.roles.isdisjoint(roles)

    def acts_for(self, participant_id: str) -> bool:
        """Tell whether this is one of its participants."""
        return bool(self.among(frozenset({participant_id})))

    def among(self, audience: Audience) -> tuple[Participant, ...]:
        """Return those of its participants that an audience takes in."""
        if not self.is_one_of(*_OF_PARTICIPANTS):
            return ()
        return tuple(one for one in self.participants if audience == ALL or one.id in audience)

    def may_see(self, event_type: str, audience: Audience) -> bool:
        """Tell whether it may see an event: an operator, or for a participant to whom the type is open."""
        if self.is_one_of(Role.OPERATOR):
            return True
        return any(one.is_entitled(event_type) for one in self.among(audience))


def digest_of(token: str) -> bytes:
    """Return what is kept of a token, its SHA-256: of 256 random bits nothing slower is needed."""
    return hashlib.sha256(token.encode()).digest()


def by_token(connection: Connection, token: str, now: datetime) -> Principal | None:
    """Return who shows this token; None for one that is unknown, revoked or expired."""
    wanted = digest_of(token)
    row = _live(connection, tokens, {"sha256": wanted})
    if row is None or not compare_digest(row["sha256"], wanted) or now >= row["expires_at"]:
        return None
    return _principal(connection, row["name"], Grant.of(row))


def by_certificate(connection: Connection, subject: str, now: datetime) -> Principal | None:
    """Return who shows a certificate of this subject (RFC 4514), which was verified; None: nobody known."""
    row = _live(connection, certificates, {"subject": subject})
    if row is None or now < row["created_at"]:
        return None
    return _principal(connection, subject, Grant.of(row))


def _live(connection: Connection, table: Table, wanted: Mapping[str, object]) -> RowMapping | None:
    query = select(table).filter_by(**wanted).where(table.c.revoked_at.is_(None))
    return connection.execute(query).mappings().first()


def _principal(connection: Connection, name: str, grant: Grant) -> Principal:
    organisation_id = grant.owner(connection)
    if grant.participant_id is not None:
        own: tuple[Participant, ...] = (participants.get(connection, grant.participant_id),)
    elif organisation_id is not None:
        own = participants.find(connection, organisation_id=organisation_id)
    else:
        own = ()
    return Principal(name=name, roles=grant.roles, organisation_id=organisation_id, participants=own)
