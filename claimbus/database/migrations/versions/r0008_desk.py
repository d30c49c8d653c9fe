"""The desk: recoveries that outlive their portal, whose letters a replay has, certificates that were shown.

And rare attempts by their verdict or replay.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; whose letters the replays of now have is read from their items."""
    op.create_table(
        "recoveries",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("endpoint_id", sa.String, nullable=False),
        sa.Column("participant_id", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("type", sa.String),
        sa.Column("everything", sa.Boolean, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("beat_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("read", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("recovered", sa.JSON),
        sa.Column("why", sa.String, nullable=False),
        sa.CheckConstraint("state IN ('running', 'done', 'failed', 'stopped')", "state"),
    )
    op.create_index("ix_recoveries_begun_at", "recoveries", ["begun_at", "id"])
    op.create_index("ix_recoveries_endpoint_id", "recoveries", ["endpoint_id", "begun_at", "id"])
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_recoveries_endpoint_id",
        "recoveries",
        ["endpoint_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_table(
        "replay_participants",
        sa.Column("replay_id", sa.String, sa.ForeignKey("replays.id"), primary_key=True),
        sa.Column("participant_id", sa.String, primary_key=True),
    )
    op.execute(
        "INSERT INTO replay_participants (replay_id, participant_id)"
        " SELECT DISTINCT i.replay_id, coalesce(l.participant_id, '')"
        " FROM replay_items i JOIN letters l ON l.id = i.letter_id"
    )
    op.create_index("ix_replays_actor", "replays", ["actor", "created_at", "id"])
    op.create_table(
        "shown_certificates",
        sa.Column("fingerprint", sa.String, primary_key=True),
        sa.Column("certificate_id", sa.String, sa.ForeignKey("certificates.id"), nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("shown_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_shown_certificates_certificate_id", "shown_certificates", ["certificate_id"])
    for name, column, condition in (
        ("ix_attempts_by_verdict", "verdict", sa.text("verdict != 'delivered'")),
        ("ix_attempts_by_replay", "replay", sa.text("replay IS NOT NULL")),
    ):
        op.create_index(
            name,
            "attempts",
            [column, "started_ms", "id"],
            sqlite_where=condition,
            postgresql_where=condition,
        )
