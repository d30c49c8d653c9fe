"""Delivering again: replays of dead letters, and recoveries from the journal.

Both are long jobs that may outlive the process at work on them: what to do, and how far it came, is kept.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    literal_column,
)

from claimbus.database.schema.base import Moment, metadata

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
