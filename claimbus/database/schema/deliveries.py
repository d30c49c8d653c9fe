"""What happened at endpoints: each attempt at a delivery, and when they were held, released or disabled."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, literal_column

from claimbus.database.schema.base import Moment, Number, metadata

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
    Column("id", Number, primary_key=True),
    Column("endpoint_id", String, nullable=False),
    Column("what", String, nullable=False),
    Column("at", Moment, nullable=False),
    Column("reason", String, nullable=False),
    Index("ix_hold_events_endpoint_id_at", "endpoint_id", "at"),
)
