"""The first schema.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = "audit_entries: entries are only ever added"


def upgrade() -> None:
    """Make every table."""
    _participants()
    _endpoints()
    _deliveries()
    _audit()


def _participants() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "contacts",
        sa.Column("organisation_id", sa.String, sa.ForeignKey("organisations.id"), primary_key=True),
        sa.Column("email", sa.String, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "participants",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "organisation_id", sa.String, sa.ForeignKey("organisations.id"), nullable=False, index=True
        ),
        sa.Column("event_types", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "entitlements",
        sa.Column("resource_id", sa.String, primary_key=True),
        sa.Column(
            "participant_id", sa.String, sa.ForeignKey("participants.id"), primary_key=True, index=True
        ),
        sa.Column("valid_from", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("valid_to", sa.BigInteger),
        sa.CheckConstraint("valid_to >= valid_from", "valid_to"),
    )


def _endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("participant_id", sa.String, sa.ForeignKey("participants.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("url", sa.String),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("ordered", sa.Boolean, nullable=False),
        sa.Column("latest_only", sa.Boolean, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("rate_limit", sa.Float),
        sa.Column("timeout_s", sa.Float, nullable=False),
        sa.Column("age_limit_s", sa.Integer, nullable=False),
        sa.Column("schema_version", sa.Integer),
        sa.Column("ca_pem", sa.String),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("state_reason", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("verified_at", sa.BigInteger),
        sa.Column("removed_at", sa.BigInteger),
        sa.CheckConstraint("kind IN ('webhook', 'stream')", "kind"),
        sa.CheckConstraint("mode IN ('body', 'claim')", "mode"),
        sa.CheckConstraint("state IN ('active', 'paused', 'disabled')", "state"),
    )
    _unique_where("endpoints", ["participant_id", "name"], "removed_at IS NULL")
    op.create_table(
        "endpoint_secrets",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("endpoint_id", sa.String, sa.ForeignKey("endpoints.id"), nullable=False, index=True),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
    )
    op.create_table(
        "subscriptions",
        sa.Column("endpoint_id", sa.String, sa.ForeignKey("endpoints.id"), primary_key=True),
        sa.Column("pattern", sa.String, primary_key=True),
    )
    op.create_table(
        "bindings",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("endpoint_id", sa.String, sa.ForeignKey("endpoints.id"), nullable=False, index=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("exchange", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("bound_from", sa.BigInteger, nullable=False),
        sa.Column("bound_to", sa.BigInteger),
    )
    _unique_where("bindings", ["endpoint_id", "generation", "exchange", "key"], "bound_to IS NULL")


def _deliveries() -> None:
    op.create_table(
        "attempts",
        sa.Column("started_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("endpoint_id", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("participant_id", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("claim_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("next", sa.String, nullable=False),
        sa.Column("detail", sa.String),
        sa.Column("answer_head", sa.LargeBinary),
        sa.Column("replay", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("partitionkey", sa.String),
        sa.Column("sequence", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempts_by_endpoint", "attempts", ["endpoint_id", "started_ms", "id", "verdict"])
    op.create_index("ix_attempts_by_message", "attempts", ["message_id", "endpoint_id"])
    op.create_table(
        "hold_events",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("endpoint_id", sa.String, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("ix_hold_events_endpoint_id_at", "hold_events", ["endpoint_id", "at"])
    op.create_table(
        "parked_events",
        sa.Column("message_id", sa.String, primary_key=True),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("parked_at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("released_by", sa.String),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_parked_events_parked_at", "parked_events", ["parked_at"])


def _audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("object_id", sa.String, nullable=False),
        sa.Column("organisation_id", sa.String),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("ix_audit_entries_kind_object_id", "audit_entries", ["kind", "object_id"])
    op.create_index("ix_audit_entries_organisation_id", "audit_entries", ["organisation_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
            f"BEGIN RAISE EXCEPTION '{_APPEND_ONLY}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_refuse()"
        )
        return
    taken = "WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)"  # REPLACE fires no delete trigger
    for change, condition in (("UPDATE", ""), ("DELETE", ""), ("INSERT", taken)):
        op.execute(
            f"CREATE TRIGGER audit_entries_{change.lower()} BEFORE {change} ON audit_entries {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )


def _unique_where(table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    name = "_".join(["uq", table, *columns])
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)
