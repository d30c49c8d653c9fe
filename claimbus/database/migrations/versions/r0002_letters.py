"""Dead letters with their bodies, and replays.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables."""
    _letters()
    _kept()
    _replays()


def _letters() -> None:
    op.create_table(
        "letters",
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("state_at", sa.BigInteger, nullable=False),
        sa.Column("state_reason", sa.String, nullable=False),
        sa.Column("died_at", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("endpoint_id", sa.String),
        sa.Column("participant_id", sa.String),
        sa.Column("message_id", sa.String),
        sa.Column("type", sa.String),
        sa.Column("claim_id", sa.String),
        sa.Column("timestamp", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("partitionkey", sa.String),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("traceparent", sa.String),
        sa.Column("replay", sa.String),
        sa.Column("replay_id", sa.String),
        sa.Column("next_id", sa.String),
        sa.Column("raw", sa.LargeBinary),
        sa.CheckConstraint("state IN ('dead', 'replaying', 'delivered', 'dead again', 'discarded')", "state"),
    )
    op.create_index("uq_letters_id", "letters", ["id"], unique=True)
    op.create_index(
        "ix_letters_state",
        "letters",
        ["state", "fingerprint", "died_at", "number", "cause", "participant_id", "endpoint_id", "type"],
    )
    op.create_index("ix_letters_endpoint_id", "letters", ["endpoint_id", "number"])
    op.create_index("ix_letters_message_id", "letters", ["message_id", "endpoint_id"])
    op.create_index("ix_letters_claim_id", "letters", ["claim_id", "died_at"])
    op.create_table(
        "fingerprints",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.String, nullable=False),
    )


def _kept() -> None:
    op.create_table(
        "kept_claims",
        sa.Column("claim_id", sa.String, primary_key=True),
        sa.Column("audience", sa.JSON, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.BigInteger, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("kept_at", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_kept_claims_stored", "kept_claims", ["stored"])
    op.create_index("ix_kept_claims_kept_at", "kept_claims", ["kept_at"])
    op.create_table(
        "kept_chunks",
        sa.Column("claim_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _replays() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("state_at", sa.BigInteger, nullable=False),
        sa.Column("state_reason", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("selection", sa.JSON, nullable=False),
        sa.Column("rate", sa.Float),
        sa.Column("canary", sa.Boolean, nullable=False),
        sa.Column("keep_going", sa.Boolean, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("resumed_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("runner", sa.String),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("returned_at", sa.BigInteger),
        sa.Column("returned", sa.String),
        sa.CheckConstraint("state IN ('running', 'paused', 'sent', 'done', 'cancelled')", "state"),
    )
    op.create_index("ix_replays_created_at", "replays", ["created_at", "id"])
    op.create_table(
        "replay_items",
        sa.Column("replay_id", sa.String, sa.ForeignKey("replays.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("letter_id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("state_at", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'delivered', 'dead again', 'skipped', 'cancelled')",
            "state",
        ),
    )
    op.create_index("ix_replay_items_state", "replay_items", ["replay_id", "state", "position"])
    op.create_index("ix_replay_items_letter_id", "replay_items", ["letter_id", "replay_id"])
