"""Webhooks are delivered to once they are verified, at a rate that their receivers allow.

Those that there are were delivered to since they were added; they count as verified since then.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and let go on what is delivered to."""
    op.add_column("endpoints", sa.Column("allowed_rate", sa.Float))
    op.execute(
        "UPDATE endpoints SET verified_at = created_at"
        " WHERE kind = 'webhook' AND verified_at IS NULL AND removed_at IS NULL"
    )
