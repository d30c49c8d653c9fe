"""Client certificates, known by their subject: a renewed one goes on where its predecessor ended.

What is kept here is whom a subject stands for, and which authorities may say so. Whether a certificate is
genuine is for these to say (`claimbus.database.authorities`); a single one is revoked by its fingerprint
(`claimbus.database.revocations`).
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from sqlalchemy import Connection, insert, select, update

from claimbus.database import audit, authorities
from claimbus.database.access import Grant
from claimbus.database.audit import Act, Subject
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.database.schema import certificates
from claimbus.events.errors import InvalidInputError

ID: Final = "crt_"
"""How the ID of a subject begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSubject:
    """Whom certificates of a subject (RFC 4514) stand for.

    One of the ``authorities``, by their IDs, must have issued them; None: any that counts.
    """

    id: str
    subject: str
    grant: Grant
    authorities: tuple[str, ...] | None
    created_at: datetime
    revoked_at: datetime | None


def normal_subject(subject: str) -> str:
    """Return a subject spelled as `claimbus.portal` reads it from a certificate. Raises InvalidInputError."""
    try:
        name = x509.Name.from_rfc4514_string(subject)
    except ValueError as wrong:
        reason = f"{subject!r:.200} is no name as in RFC 4514: CN=daemon,O=Pacific"
        raise InvalidInputError("subject", reason) from wrong
    if not list(name):
        raise InvalidInputError("subject", "is empty; any certificate without one would do")
    return name.rfc4514_string()


def subject_in(pem: bytes) -> str:
    """Return the subject of a certificate, the first of those in a file. Raises InvalidInputError."""
    try:
        return x509.load_pem_x509_certificates(pem)[0].subject.rfc4514_string()
    except ValueError as wrong:
        raise InvalidInputError("certificate", f"is not readable ({wrong})") from wrong


def add(
    connection: Connection, subject: str, grant: Grant, act: Act, *, issued_by: Collection[str] | None = None
) -> KnownSubject:
    """Let certificates of this subject count, if one of these authorities issued them; None: any.

    Raises DuplicateError for one that does already, NotFoundError for an unknown participant, organisation or
    authority, and InvalidInputError.
    """
    wanted, organisation_id = normal_subject(subject), grant.owner(connection)
    grant.check_name(wanted)
    issuers = _known(connection, issued_by)
    query = select(certificates.c.id).filter_by(subject=wanted, revoked_at=None)
    known = connection.execute(query).scalar()
    if known is not None:
        raise DuplicateError("subject", f"{wanted} is known already, as {known}; revoke that first")
    certificate_id = ID + secrets.token_hex(8)
    row = {"id": certificate_id, "subject": wanted, "created_at": act.at, "authorities": issuers}
    connection.execute(insert(certificates), row | grant.columns())
    after = {"subject": wanted, "authorities": issuers} | grant.state()
    audit.append(
        connection, act, "added", Subject("certificate", certificate_id, organisation_id), after=after
    )
    return get(connection, certificate_id)


def get(connection: Connection, certificate_id: str) -> KnownSubject:
    """Return one. Raises NotFoundError."""
    for known in find(connection, certificate_id=certificate_id):
        return known
    raise NotFoundError("certificate", f"there is no certificate {certificate_id!r:.60}")


def find(connection: Connection, *, certificate_id: str | None = None) -> tuple[KnownSubject, ...]:
    """Return all or one, the newest first; those that count no more too."""
    query = select(certificates).order_by(certificates.c.created_at.desc(), certificates.c.id)
    if certificate_id is not None:
        query = query.filter_by(id=certificate_id)
    return tuple(
        KnownSubject(
            id=row["id"],
            subject=row["subject"],
            grant=Grant.of(row),
            authorities=None if row["authorities"] is None else tuple(row["authorities"]),
            created_at=row["created_at"],
            revoked_at=row["revoked_at"],
        )
        for row in connection.execute(query).mappings()
    )


def set_issuers(
    connection: Connection, certificate_id: str, issued_by: Collection[str] | None, act: Act
) -> KnownSubject:
    """Say anew which authorities may issue certificates of a subject: None, any that counts.

    Raises NotFoundError, for an unknown authority too, and InvalidInputError.
    """
    known, issuers = get(connection, certificate_id), _known(connection, issued_by)
    connection.execute(update(certificates).filter_by(id=certificate_id).values(authorities=issuers))
    subject = Subject("certificate", certificate_id, known.grant.owner(connection))
    before = None if known.authorities is None else list(known.authorities)
    audit.append(
        connection, act, "changed", subject, before={"authorities": before}, after={"authorities": issuers}
    )
    return get(connection, certificate_id)


def revoke(connection: Connection, certificate_id: str, act: Act) -> KnownSubject:
    """Let certificates of this subject count no more. Raises NotFoundError."""
    known = get(connection, certificate_id)
    if known.revoked_at is None:
        connection.execute(update(certificates).filter_by(id=certificate_id).values(revoked_at=act.at))
        subject = Subject("certificate", certificate_id, known.grant.owner(connection))
        audit.append(connection, act, "revoked", subject, before={"subject": known.subject})
    return get(connection, certificate_id)


def _known(connection: Connection, issued_by: Collection[str] | None) -> list[str] | None:
    if issued_by is None:
        return None
    if not issued_by:
        raise InvalidInputError("authority", "must be given, at least one")
    return sorted({authorities.get(connection, one).id for one in issued_by})
