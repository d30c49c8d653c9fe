"""Dead letters, by what they are grouped, and their bodies, kept for delivering them again.

A body is kept once, however many letters share its claim.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from claimbus.database.schema.base import Moment, Number, metadata

# What was given up. A letter's ID is derived from the delivery, so the same letter twice is one row; `number`
# is the order of recording. `claim_id` is in kept_claims if the body was still there.
letters = Table(
    "letters",
    metadata,
    Column("number", Number, primary_key=True),
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
