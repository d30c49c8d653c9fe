"""Single certificates that count no more, by their SHA-256 fingerprint, whoever issued them.

For a key that was lost or stolen: its subject goes on with another certificate. That of an authority may be
revoked too: then nothing counts that it is needed for.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Connection, delete, insert, select

from claimbus.database import audit
from claimbus.database.audit import Act, State, Subject
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.database.schema import revocations
from claimbus.events.errors import InvalidInputError

_KIND: Final = "fingerprint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A certificate that was revoked. ``subject`` is empty if only its fingerprint was known."""

    fingerprint: str
    subject: str
    reason: str
    revoked_at: datetime


def normal_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint, with or without colons, in lower case. Raises InvalidInputError."""
    found = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise InvalidInputError("fingerprint", f"{text!r:.100} is no SHA-256: 64 hexadecimal digits")
    return found


def read(pem: bytes) -> tuple[str, str]:
    """Return fingerprint and subject of a certificate, the first in a file. Raises InvalidInputError."""
    try:
        found = x509.load_pem_x509_certificates(pem)[0]
    except ValueError as wrong:
        raise InvalidInputError("certificate", f"is not readable ({wrong})") from wrong
    return found.fingerprint(SHA256()).hex(), found.subject.rfc4514_string()


def revoke(connection: Connection, fingerprint: str, act: Act, *, subject: str = "") -> Revocation:
    """Let a certificate count no more. Raises DuplicateError for one that was revoked, InvalidInputError."""
    wanted = normal_fingerprint(fingerprint)
    if has_any(connection, [wanted]):
        raise DuplicateError("fingerprint", f"{wanted} is revoked already")
    row = {"fingerprint": wanted, "subject": subject, "reason": act.reason, "revoked_at": act.at}
    connection.execute(insert(revocations), row)
    revoked = get(connection, wanted)
    audit.append(connection, act, "revoked", Subject(_KIND, wanted), after=_state(revoked))
    return revoked


def restore(connection: Connection, fingerprint: str, act: Act) -> Revocation:
    """Let a certificate count again; return what is undone. Raises NotFoundError and InvalidInputError."""
    revoked = get(connection, normal_fingerprint(fingerprint))
    connection.execute(delete(revocations).filter_by(fingerprint=revoked.fingerprint))
    audit.append(connection, act, "restored", Subject(_KIND, revoked.fingerprint), before=_state(revoked))
    return revoked


def get(connection: Connection, fingerprint: str) -> Revocation:
    """Return one. Raises NotFoundError."""
    row = connection.execute(select(revocations).filter_by(fingerprint=fingerprint)).mappings().first()
    if row is None:
        raise NotFoundError("fingerprint", f"no certificate {fingerprint!r:.80} is revoked")
    return Revocation(**row)


def find(connection: Connection) -> tuple[Revocation, ...]:
    """Return all, the newest first."""
    query = select(revocations).order_by(revocations.c.revoked_at.desc(), revocations.c.fingerprint)
    return tuple(Revocation(**row) for row in connection.execute(query).mappings())


def has_any(connection: Connection, fingerprints: Collection[str]) -> bool:
    """Tell whether any of these certificates is revoked."""
    column = revocations.c.fingerprint
    return connection.execute(select(column).where(column.in_(fingerprints)).limit(1)).first() is not None


def _state(one: Revocation) -> State:
    return {"subject": one.subject} if one.subject else {}
