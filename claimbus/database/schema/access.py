"""Who may use the portal: certificates and those who sign them, tokens, and who is logged in.

Nobody gets in by reading it: of tokens and cookies only the SHA-256 is kept.
"""

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table

from claimbus.database.schema.base import Moment, metadata

_List = JSON(none_as_null=True)

# Whose client certificates the portal trusts, and from when to when; what it says itself is checked besides.
authorities = Table(
    "authorities",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("pem", String, nullable=False),
    Column("counts_from", Moment, nullable=False),
    Column("counts_to", Moment),
    Column("created_at", Moment, nullable=False),
)

# By the subject, so that a renewed certificate goes on where its predecessor ended.
certificates = Table(
    "certificates",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("participant_id", ForeignKey("participants.id")),
    Column("organisation_id", ForeignKey("organisations.id")),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("publishes", _List),
    Column("authorities", _List),
)
_open = certificates.c.revoked_at.is_(None)
Index(
    "uq_certificates_subject",
    certificates.c.subject,
    unique=True,
    sqlite_where=_open,
    postgresql_where=_open,
)

# The client certificates that were shown of late, by their SHA-256 in hexadecimal, and for which subject.
shown_certificates = Table(
    "shown_certificates",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("certificate_id", ForeignKey("certificates.id"), nullable=False, index=True),
    Column("ends_at", Moment, nullable=False),
    Column("shown_at", Moment, nullable=False),
)

# Of a token only its SHA-256 is kept: it is random, so nobody can guess it from that.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("name", String, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("participant_id", ForeignKey("participants.id")),
    Column("organisation_id", ForeignKey("organisations.id")),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("used_at", Moment),
    Column("publishes", _List),
    Index("uq_tokens_sha256", "sha256", unique=True),
)

# Single certificates that count no more, by their SHA-256 in hexadecimal.
revocations = Table(
    "revocations",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("revoked_at", Moment, nullable=False),
)

# Whoever is logged in to the pages: the SHA-256 of a cookie, and the credential that opened it, which is
# looked up again with each request: a token's SHA-256 in hexadecimal, a certificate's subject.
sessions = Table(
    "sessions",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("kind", String, nullable=False),
    Column("credential", String, nullable=False, index=True),
    Column("csrf", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False, index=True),
    Column("expires_at", Moment, nullable=False),
    CheckConstraint("kind IN ('token', 'certificate')", "kind"),
)
