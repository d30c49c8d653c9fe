"""Publishers of some domains, subjects of some authorities, and single certificates that are revoked.

Publishers that there are published of all domains; so they go on.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table, and let go on who publishes."""
    for table in ("certificates", "tokens"):
        op.add_column(table, sa.Column("publishes", sa.JSON))
        op.execute(
            f'UPDATE {table} SET publishes = \'["market", "oms", "system"]\''  # noqa: S608
            " WHERE CAST(roles AS TEXT) LIKE '%\"publisher\"%'"
        )
    op.add_column("certificates", sa.Column("authorities", sa.JSON))
    op.create_table(
        "revocations",
        sa.Column("fingerprint", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
    )
