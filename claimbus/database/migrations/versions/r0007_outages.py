"""Attempts by outage: what people search by first.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_attempts_by_outage", "attempts", ["partitionkey", "started_ms"])
