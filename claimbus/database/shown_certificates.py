"""Which client certificates were shown of late, and when each ends: registered is but their subject."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from claimbus.database.schema import certificates, shown_certificates
from claimbus.database.statements import portions

KEPT: Final = timedelta(days=90)
"""How long a certificate that has ended is remembered."""


class Shown(NamedTuple):
    """A certificate by its SHA-256 in hexadecimal; it counts until ``ends_at``, and was shown at a moment."""

    fingerprint: str
    subject: str
    ends_at: datetime
    shown_at: datetime


def note(connection: Connection, shown: Collection[Shown], now: datetime) -> None:
    """Note certificates that were verified; one whose subject nobody registered is passed over."""
    subject = certificates.c.subject
    known = {
        row.subject: row.id
        for some in portions({one.subject for one in shown})
        for row in connection.execute(
            select(subject, certificates.c.id).where(subject.in_(some), certificates.c.revoked_at.is_(None))
        )
    }
    rows = [  # in one order, whoever notes them: two portals would lock each other's rows for ever
        {
            "fingerprint": one.fingerprint,
            "certificate_id": known[one.subject],
            "ends_at": one.ends_at,
            "shown_at": one.shown_at,
        }
        for one in sorted(shown)
        if one.subject in known
    ]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        adding = dialect.insert(shown_certificates)
        names = ("certificate_id", "ends_at", "shown_at")
        newer = {name: adding.excluded[name] for name in names}
        connection.execute(adding.on_conflict_do_update(index_elements=["fingerprint"], set_=newer), rows)
    connection.execute(delete(shown_certificates).where(shown_certificates.c.ends_at < now - KEPT))


def find(connection: Connection, certificate_ids: Collection[str]) -> dict[str, list[Shown]]:
    """Return those that were shown, by the ID of their registered subject: what ends last comes first."""
    column = shown_certificates.c
    query = (
        select(
            column.certificate_id, column.fingerprint, certificates.c.subject, column.ends_at, column.shown_at
        )
        .join(certificates)
        .order_by(column.ends_at.desc(), column.fingerprint)
    )
    found: defaultdict[str, list[Shown]] = defaultdict(list)
    for some in portions(certificate_ids):
        for row in connection.execute(query.where(column.certificate_id.in_(some))):
            found[row.certificate_id].append(Shown(*row[1:]))
    return found
