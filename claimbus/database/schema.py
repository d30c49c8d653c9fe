"""The tables, as the code sees them; ``migrations`` brings a database there.

Every moment is kept as milliseconds since the epoch, UTC, in a BIGINT: the same on both databases, compact,
and free of time zone settings. In Python it is an aware ``datetime`` (columns ``…_at``, ``valid_…``,
``bound_…``), except in the attempts, written thousands a second: there it stays a number (``…_ms``).
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    literal_column,
)

from claimbus.events.errors import InvalidInputError

REVISION: Final = "0008"
"""The newest migration, so that a start need not load Alembic to see that there is nothing to do."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since the epoch, rounded down. Raises InvalidInputError for a naive time."""
    if moment.tzinfo is None:
        raise InvalidInputError("time", f"{moment.isoformat()} is naive; give it a time zone")
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(number: int) -> datetime:
    """Return the aware moment, in UTC, of these milliseconds since the epoch."""
    return _EPOCH + number * _MILLISECOND


class Moment(TypeDecorator[datetime]):
    """An aware datetime in Python, milliseconds since the epoch in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: D102
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return None if value is None else moment_of(value)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only where the type is spelled INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")

organisations = Table(
    "organisations",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("organisation_id", ForeignKey("organisations.id"), primary_key=True),
    Column("email", String, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

participants = Table(
    "participants",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("event_types", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)

# Half-open: valid from valid_from on, and no longer at valid_to.
entitlements = Table(
    "entitlements",
    metadata,
    Column("resource_id", String, primary_key=True),
    Column("participant_id", ForeignKey("participants.id"), primary_key=True, index=True),
    Column("valid_from", Moment, primary_key=True),
    Column("valid_to", Moment),
    CheckConstraint("valid_to >= valid_from", "valid_to"),
)

# A webhook that is active here, and not verified, is pending: see endpoint_rows.
endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String, primary_key=True),
    Column("participant_id", ForeignKey("participants.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("url", String),
    Column("mode", String, nullable=False),
    Column("ordered", Boolean, nullable=False),
    Column("latest_only", Boolean, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("rate_limit", Float),
    Column("timeout_s", Float, nullable=False),
    Column("age_limit_s", Integer, nullable=False),
    Column("schema_version", Integer),
    Column("ca_pem", String),
    Column("state", String, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("verified_at", Moment),
    Column("removed_at", Moment),
    Column("allowed_rate", Float),
    CheckConstraint("kind IN ('webhook', 'stream')", "kind"),
    CheckConstraint("mode IN ('body', 'claim')", "mode"),
    CheckConstraint("state IN ('active', 'paused', 'disabled')", "state"),
)
_kept = endpoints.c.removed_at.is_(None)
Index(
    "uq_endpoints_participant_id_name",
    endpoints.c.participant_id,
    endpoints.c.name,
    unique=True,
    sqlite_where=_kept,
    postgresql_where=_kept,
)

endpoint_secrets = Table(
    "endpoint_secrets",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False, index=True),
    Column("value", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("endpoint_id", ForeignKey("endpoints.id"), primary_key=True),
    Column("pattern", String, primary_key=True),
)

bindings = Table(
    "bindings",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("exchange", String, nullable=False),
    Column("key", String, nullable=False),
    Column("bound_from", Moment, nullable=False),
    Column("bound_to", Moment),
)
_bound = bindings.c.bound_to.is_(None)
Index(
    "uq_bindings_endpoint_id_generation_exchange_key",
    bindings.c.endpoint_id,
    bindings.c.generation,
    bindings.c.exchange,
    bindings.c.key,
    unique=True,
    sqlite_where=_bound,
    postgresql_where=_bound,
)

# The hot path. The worker makes the key, so a batch can be written again; it begins with the time, so rows
# are appended, in SQLite to the primary key's own tree (WITHOUT ROWID: 12 µs a row against 18). The indexes
# hold all that lists by endpoint, counts, and looks for what was delivered need. No foreign keys.
attempts = Table(
    "attempts",
    metadata,
    Column("started_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("endpoint_id", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("participant_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("claim_id", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Integer),
    Column("duration_ms", Integer, nullable=False),
    Column("next", String, nullable=False),
    Column("detail", String),
    Column("answer_head", LargeBinary),
    Column("replay", String),
    Column("source", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("partitionkey", String),
    Column("sequence", BigInteger),
    Index("ix_attempts_by_endpoint", "endpoint_id", "started_ms", "id", "verdict"),
    Index("ix_attempts_by_message", "message_id", "endpoint_id"),
    Index("ix_attempts_by_outage", "partitionkey", "started_ms"),
    sqlite_with_rowid=False,
)

# Only what few attempts have is in these two, so that they cost an insert next to nothing. SQLite takes the
# first one for a query that has this very condition.
is_rare = attempts.c.verdict != literal_column("'delivered'")
Index(
    "ix_attempts_by_verdict",
    attempts.c.verdict,
    attempts.c.started_ms,
    attempts.c.id,
    sqlite_where=is_rare,
    postgresql_where=is_rare,
)
_is_replayed = attempts.c.replay.is_not(None)
Index(
    "ix_attempts_by_replay",
    attempts.c.replay,
    attempts.c.started_ms,
    attempts.c.id,
    sqlite_where=_is_replayed,
    postgresql_where=_is_replayed,
)

hold_events = Table(
    "hold_events",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("endpoint_id", String, nullable=False),
    Column("what", String, nullable=False),
    Column("at", Moment, nullable=False),
    Column("reason", String, nullable=False),
    Index("ix_hold_events_endpoint_id_at", "endpoint_id", "at"),
)

parked_events = Table(
    "parked_events",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("resource_id", String, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("size", Integer, nullable=False),
    Column("parked_at", Moment, nullable=False),
    Column("released_at", Moment),
    Column("released_by", String),
    Column("body", LargeBinary, nullable=False),
    Index("ix_parked_events_parked_at", "parked_at"),
)

# What was given up. A letter's ID is derived from the delivery, so the same letter twice is one row; `number`
# is the order of recording. `claim_id` is in kept_claims if the body was still there.
letters = Table(
    "letters",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("state_at", Moment, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("died_at", Moment, nullable=False),
    Column("cause", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("status", Integer),
    Column("detail", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("endpoint_id", String),
    Column("participant_id", String),
    Column("message_id", String),
    Column("type", String),
    Column("claim_id", String),
    Column("timestamp", BigInteger),
    Column("expires", BigInteger),
    Column("partitionkey", String),
    Column("sequence", BigInteger),
    Column("traceparent", String),
    Column("replay", String),
    Column("replay_id", String),
    Column("next_id", String),
    Column("raw", LargeBinary),
    CheckConstraint("state IN ('dead', 'replaying', 'delivered', 'dead again', 'discarded')", "state"),
    Index("uq_letters_id", "id", unique=True),
    # It has all that letters are grouped by: SQLite would fetch row by row, 4 times slower.
    Index(
        "ix_letters_state",
        "state",
        "fingerprint",
        "died_at",
        "number",
        "cause",
        "participant_id",
        "endpoint_id",
        "type",
    ),
    Index("ix_letters_endpoint_id", "endpoint_id", "number"),
    Index("ix_letters_message_id", "message_id", "endpoint_id"),
    Index("ix_letters_claim_id", "claim_id", "died_at"),
)

# What a group of letters has in common.
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("id", String, primary_key=True),
    Column("cause", String, nullable=False),
    Column("status", Integer),
    Column("error", String, nullable=False),
)

# A dead letter's body: the claim's record as it lay in Redis; its chunks, if it has any, are written before
# it. The bytes come last: SQLite reads what stands before them without walking through them.
kept_claims = Table(
    "kept_claims",
    metadata,
    Column("claim_id", String, primary_key=True),
    Column("audience", JSON, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("kept_at", Moment, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index("ix_kept_claims_stored", "stored"),
    Index("ix_kept_claims_kept_at", "kept_at"),
)

kept_chunks = Table(
    "kept_chunks",
    metadata,
    Column("claim_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("written_at", Moment, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# A job that delivers dead letters again, and its letters in the order of sending.
replays = Table(
    "replays",
    metadata,
    Column("id", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("state_at", Moment, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("selection", JSON, nullable=False),
    Column("rate", Float),
    Column("canary", Boolean, nullable=False),
    Column("keep_going", Boolean, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("resumed_at", Moment),
    Column("ended_at", Moment),
    Column("runner", String),
    Column("leased_until", Moment),
    Column("returned_at", Moment),
    Column("returned", String),
    CheckConstraint("state IN ('running', 'paused', 'sent', 'done', 'cancelled')", "state"),
    Index("ix_replays_created_at", "created_at", "id"),
    Index("ix_replays_actor", "actor", "created_at", "id"),
)

replay_items = Table(
    "replay_items",
    metadata,
    Column("replay_id", ForeignKey("replays.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("letter_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("state_at", Moment, nullable=False),
    Column("detail", String, nullable=False),
    CheckConstraint(
        "state IN ('waiting', 'sending', 'sent', 'delivered', 'dead again', 'skipped', 'cancelled')", "state"
    ),
    Index("ix_replay_items_state", "replay_id", "state", "position"),
    Index("ix_replay_items_letter_id", "letter_id", "replay_id"),
)

# Whose letters a job has, so that who may see it need not be read from them; "" stands for nobody's.
replay_participants = Table(
    "replay_participants",
    metadata,
    Column("replay_id", ForeignKey("replays.id"), primary_key=True),
    Column("participant_id", String, primary_key=True),
)

# A recovery that was begun at a portal. While it runs, its portal renews `beat_at`.
recoveries = Table(
    "recoveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("endpoint_id", String, nullable=False),
    Column("participant_id", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment),
    Column("type", String),
    Column("everything", Boolean, nullable=False),
    Column("state", String, nullable=False),
    Column("begun_at", Moment, nullable=False),
    Column("beat_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("read", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("recovered", JSON(none_as_null=True)),
    Column("why", String, nullable=False),
    CheckConstraint("state IN ('running', 'done', 'failed', 'stopped')", "state"),
    Index("ix_recoveries_begun_at", "begun_at", "id"),
    Index("ix_recoveries_endpoint_id", "endpoint_id", "begun_at", "id"),
)
_running = recoveries.c.state == literal_column("'running'")
Index(
    "uq_recoveries_endpoint_id",
    recoveries.c.endpoint_id,
    unique=True,
    sqlite_where=_running,
    postgresql_where=_running,
)

# Append-only: triggers, made by the migration, refuse UPDATE, DELETE and replacing.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("object_id", String, nullable=False),
    Column("organisation_id", String),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("reason", String, nullable=False),
    Index("ix_audit_entries_kind_object_id", "kind", "object_id"),
    Index("ix_audit_entries_organisation_id", "organisation_id"),
)

_LIST = JSON(none_as_null=True)

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
    Column("publishes", _LIST),
    Column("authorities", _LIST),
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
    Column("publishes", _LIST),
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

# Days (ISO 8601) on which event types are deprecated and end, where they are not those of the catalogue.
type_dates = Table(
    "type_dates",
    metadata,
    Column("type", String, primary_key=True),
    Column("deprecated", String),
    Column("sunset", String),
)

# How far a reader of the audit and of the holds has come, and which process reads for it now.
tidings = Table(
    "tidings",
    metadata,
    Column("reader", String, primary_key=True),
    Column("entry_id", BigInteger, nullable=False),
    Column("hold_id", BigInteger, nullable=False),
    Column("owner", String),
    Column("leased_until", Moment),
)
