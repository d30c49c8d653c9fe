"""The web pages: sessions, the dates of event types, and how far contacts were told.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("credential", sa.String, nullable=False),
        sa.Column("csrf", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("kind IN ('token', 'certificate')", "kind"),
    )
    op.create_index("ix_sessions_credential", "sessions", ["credential"])
    op.create_index("ix_sessions_seen_at", "sessions", ["seen_at"])
    op.create_table(
        "type_dates",
        sa.Column("type", sa.String, primary_key=True),
        sa.Column("deprecated", sa.String),
        sa.Column("sunset", sa.String),
    )
    op.create_table(
        "tidings",
        sa.Column("reader", sa.String, primary_key=True),
        sa.Column("entry_id", sa.BigInteger, nullable=False),
        sa.Column("hold_id", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("leased_until", sa.BigInteger),
    )
