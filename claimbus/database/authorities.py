"""The certificate authorities whose client certificates count: several at once, each for a period.

So an authority rolls over without a gap: the new one counts from a date on, beside the old one, until the
participants' certificates have been renewed and the old one ends.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, insert, select, update

from claimbus.database import audit
from claimbus.database.audit import Act, State, Subject
from claimbus.database.errors import NotFoundError
from claimbus.database.schema import authorities
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority, counting from ``counts_from`` on and no longer at ``counts_to``.

    ``id`` is the first 64 bits of its SHA-256 fingerprint. Its certificate's own dates limit it besides.
    """

    id: str
    subject: str
    pem: str
    counts_from: datetime
    counts_to: datetime | None
    created_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When its certificate ends by itself."""
        return x509.load_pem_x509_certificate(self.pem.encode()).not_valid_after_utc

    def counts(self, at: datetime) -> bool:
        """Tell whether a moment is in its period."""
        return self.counts_from <= at and (self.counts_to is None or at < self.counts_to)


def put(
    connection: Connection,
    pem: bytes,
    act: Act,
    *,
    counts_from: datetime | None = None,
    counts_to: datetime | None = None,
) -> Authority:
    """Let an authority (one certificate, PEM) count from now or a moment on, one that is known too.

    Raises InvalidInputError for what is no authority's certificate, and for a period that ends as it begins.
    """
    certificate = _certificate(pem)
    begin = act.at if counts_from is None else counts_from
    if counts_to is not None and counts_to <= begin:
        raise InvalidInputError("counts_to", "is not after counts_from")
    authority_id = certificate.fingerprint(SHA256()).hex()[:16]
    before = _lookup(connection, authority_id)
    period = {"counts_from": begin, "counts_to": counts_to}
    if before is None:
        row = {
            "id": authority_id,
            "subject": certificate.subject.rfc4514_string(),
            "pem": certificate.public_bytes(Encoding.PEM).decode(),
            "created_at": act.at,
        }
        connection.execute(insert(authorities), row | period)
    else:
        connection.execute(update(authorities).filter_by(id=authority_id).values(**period))
    after = get(connection, authority_id)
    _note(connection, act, "changed" if before else "added", after, before)
    return after


def get(connection: Connection, authority_id: str) -> Authority:
    """Return an authority. Raises NotFoundError."""
    found = _lookup(connection, authority_id)
    if found is None:
        raise NotFoundError("authority", f"there is no authority {authority_id!r:.60}")
    return found


def find(connection: Connection) -> tuple[Authority, ...]:
    """Return all authorities, past and future ones too, by the beginning of their period."""
    query = select(authorities).order_by(authorities.c.counts_from, authorities.c.id)
    return tuple(Authority(**row) for row in connection.execute(query).mappings())


def end(connection: Connection, authority_id: str, act: Act, *, at: datetime | None = None) -> Authority:
    """Let an authority count no more, from now or a moment on. Raises NotFoundError."""
    before = get(connection, authority_id)
    ends = act.at if at is None else at
    connection.execute(update(authorities).filter_by(id=authority_id).values(counts_to=ends))
    after = get(connection, authority_id)
    _note(connection, act, "ended", after, before)
    return after


def _lookup(connection: Connection, authority_id: str) -> Authority | None:
    row = connection.execute(select(authorities).filter_by(id=authority_id)).mappings().first()
    return None if row is None else Authority(**row)


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        found = x509.load_pem_x509_certificates(pem)
        if len(found) != 1:
            raise InvalidInputError("pem", f"holds {len(found)} certificates; add them one by one")
        constraints = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as missing:
        raise InvalidInputError("pem", "is no authority's certificate: it has no constraints") from missing
    except (ValueError, TypeError) as wrong:
        what = "holds no certificate in PEM, text that begins with -----BEGIN CERTIFICATE-----"
        raise InvalidInputError("pem", what) from wrong
    if not constraints.ca:
        raise InvalidInputError("pem", "is the certificate of somebody, not of an authority")
    return found[0]


def _note(connection: Connection, act: Act, action: str, after: Authority, before: Authority | None) -> None:
    audit.append(
        connection,
        act,
        action,
        Subject("authority", after.id),
        before=None if before is None else _state(before),
        after=_state(after),
    )


def _state(one: Authority) -> State:
    ends = None if one.counts_to is None else format_time(one.counts_to)
    return {"subject": one.subject, "counts_from": format_time(one.counts_from), "counts_to": ends}
