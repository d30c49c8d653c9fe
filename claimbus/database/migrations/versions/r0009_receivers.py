"""Receivers: the certificates that they show.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "receiver_certificates",
        sa.Column("endpoint_id", sa.String, sa.ForeignKey("endpoints.id"), primary_key=True),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("looked_at", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.String),
        sa.Column("subject", sa.String),
        sa.Column("issuer", sa.String),
        sa.Column("begins_at", sa.BigInteger),
        sa.Column("ends_at", sa.BigInteger),
        sa.Column("seen_at", sa.BigInteger),
    )
