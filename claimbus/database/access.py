"""Who somebody is to the portal, and what that opens to them.

Nothing is open by default. A credential (a token, a client certificate's subject) carries a `Grant`; whom it
makes of its bearer is a `Principal`, put together at each look-up, so that a participant's move to another
organisation, or an event type that is closed to it, counts at once.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hmac import compare_digest
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, RowMapping, Table, select

from claimbus.database import participants, revocations
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import Participant
from claimbus.database.schema import certificates, organisations, tokens
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience
from claimbus.events.routing import DOMAINS

OWN_SYSTEMS: Final = frozenset({"bus", "system"})
"""ISO systems as whose the bus itself publishes: no publisher may pass for one."""

OURS: Final = "system.endpoint."
"""How the types begin that only the bus itself publishes."""


class Role(StrEnum):
    """What somebody may do: the first two for participants, the others for the ISO's own."""

    PARTICIPANT = "participant"
    """Receive what its participants may see."""
    UAA = "uaa"
    """That, and keep their endpoints."""
    PUBLISHER = "publisher"
    """Publish events of some domains."""
    OPERATOR = "operator"
    """See everything, and replay it."""
    ADMIN = "admin"
    """Say who may use the portal."""


_OF_PARTICIPANTS = frozenset({Role.PARTICIPANT, Role.UAA})


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential gives: roles, and for whom: a participant, all of an organisation's, or the ISO.

    ``publishes`` names the domains of a publisher's events. Raises InvalidInputError for roles that do not
    fit together, or not with for whom they are, and for a publisher of nothing.
    """

    roles: frozenset[Role]
    participant_id: str | None = None
    organisation_id: str | None = None
    publishes: frozenset[str] = frozenset()

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
        if (Role.PUBLISHER in self.roles) != bool(self.publishes):
            known = ", ".join(DOMAINS)
            raise InvalidInputError("publishes", f"goes with the role publisher, and that with it: {known}")
        for unknown in sorted(self.publishes.difference(DOMAINS)):
            raise InvalidInputError("publishes", f"{unknown!r:.60} is no domain: {', '.join(DOMAINS)}")

    @classmethod
    def of(cls, row: RowMapping) -> "Grant":
        """Read it from a row that has its columns."""
        roles, publishes = frozenset(map(Role, row["roles"])), frozenset(row["publishes"] or ())
        return cls(roles, row["participant_id"], row["organisation_id"], publishes)

    def columns(self) -> dict[str, Any]:
        """Return its columns."""
        return {
            "roles": sorted(self.roles),
            "participant_id": self.participant_id,
            "organisation_id": self.organisation_id,
            "publishes": sorted(self.publishes) or None,
        }

    def check_name(self, name: str) -> None:
        """Raise InvalidInputError if a publisher's name, or its subject, gives it no system of its own."""
        if Role.PUBLISHER not in self.roles:
            return
        system = system_of(name)
        if not system:
            raise InvalidInputError("name", "has no letter or digit to name a publisher's source after")
        if system in OWN_SYSTEMS:
            raise InvalidInputError("name", f"{system} is the bus's own source; a publisher needs another")

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
    publishes: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str | None, str]:
        """By what to count what it takes: others may have a token of the same name."""
        return self.organisation_id, self.name

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

    def may_publish(self, event_type: str) -> bool:
        """Tell whether it may publish events of a type: not what only the bus itself says, whoever asks."""
        domain = event_type.partition(".")[0]
        return self.is_one_of(Role.PUBLISHER) and domain in self.publishes and not event_type.startswith(OURS)


class Certificate(NamedTuple):
    """A client certificate that was verified, by its subject (RFC 4514).

    ``authorities`` are the IDs of those that vouch for it, each by itself; ``fingerprints`` its own and those
    of all on the way to them, in every form in which they are as valid: SHA-256, in hexadecimal.
    """

    subject: str
    authorities: frozenset[str]
    fingerprints: frozenset[str]


def common_name(subject: str) -> str:
    """Return a subject's common name; empty if it has none, or is no subject (RFC 4514)."""
    try:
        common = x509.Name.from_rfc4514_string(subject).get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(common[0].value) if common else ""


def system_of(name: str) -> str:
    """Return the word for an ISO system that a token's name, or a subject's common name, gives."""
    text = common_name(name) or name
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def digest_of(token: str) -> bytes:
    """Return what is kept of a token, its SHA-256: of 256 random bits nothing slower is needed."""
    return hashlib.sha256(token.encode()).digest()


def by_token(connection: Connection, token: str, now: datetime) -> Principal | None:
    """Return who shows this token; None for one that is unknown, revoked or expired."""
    return by_digest(connection, digest_of(token), now)


def by_digest(connection: Connection, digest: bytes, now: datetime) -> Principal | None:
    """Return whose token has this SHA-256: sessions know no more of it."""
    row = _live(connection, tokens, {"sha256": digest})
    if row is None or not compare_digest(row["sha256"], digest) or now >= row["expires_at"]:
        return None
    return _principal(connection, row["name"], Grant.of(row))


def by_certificate(connection: Connection, shown: Certificate, now: datetime) -> Principal | None:
    """Return who shows this certificate.

    None: nobody known, another authority than those that must have issued it, or one that was revoked.
    """
    row = _live(connection, certificates, {"subject": shown.subject})
    if row is None or now < row["created_at"]:
        return None
    if row["authorities"] is not None and shown.authorities.isdisjoint(row["authorities"]):
        return None
    if revocations.has_any(connection, shown.fingerprints):
        return None
    return _principal(connection, shown.subject, Grant.of(row))


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
    return Principal(
        name=name,
        roles=grant.roles,
        organisation_id=organisation_id,
        participants=own,
        publishes=grant.publishes,
    )
