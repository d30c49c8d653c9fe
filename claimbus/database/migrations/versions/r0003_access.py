"""Who may use the portal: authorities of client certificates, their subjects, tokens.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "authorities",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("pem", sa.String, nullable=False),
        sa.Column("counts_from", sa.BigInteger, nullable=False),
        sa.Column("counts_to", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("participant_id", sa.String, sa.ForeignKey("participants.id")),
        sa.Column("organisation_id", sa.String, sa.ForeignKey("organisations.id")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    where = sa.text("revoked_at IS NULL")
    op.create_index(
        "uq_certificates_subject",
        "certificates",
        ["subject"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("participant_id", sa.String, sa.ForeignKey("participants.id")),
        sa.Column("organisation_id", sa.String, sa.ForeignKey("organisations.id")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
    )
    op.create_index("uq_tokens_sha256", "tokens", ["sha256"], unique=True)
