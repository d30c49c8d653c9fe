"""Who changed what, and how far it has been told to those whom it concerns."""

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from claimbus.database.schema.base import Moment, Number, metadata

# Append-only: triggers, made by the migration, refuse UPDATE, DELETE and replacing.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", Number, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("object_id", String, nullable=False),
    Column("organisation_id", String),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("reason", String, nullable=False),
    Index("ix_audit_entries_kind_object_id", "kind", "object_id"),
    Index("ix_audit_entries_organisation_id", "organisation_id"),
)

# How far a reader of the audit and of the holds has come, and which process reads for it now.
tidings = Table(
    "tidings",
    metadata,
    Column("reader", String, primary_key=True),
    Column("entry_id", BigInteger, nullable=False),
    Column("hold_id", BigInteger, nullable=False),
    Column("owner", String),
    Column("leased_until", Moment),
)
