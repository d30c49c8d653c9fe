"""Whose events are whose: organisations, their participants, and the resources that these own.

From this come an event's audience, and what the queue of an endpoint may be bound to.
"""

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, String, Table

from claimbus.database.schema.base import Moment, metadata

organisations = Table(
    "organisations",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("organisation_id", ForeignKey("organisations.id"), primary_key=True),
    Column("email", String, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

participants = Table(
    "participants",
    metadata,
    Column("id", String, primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("event_types", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)

# Half-open: valid from valid_from on, and no longer at valid_to.
entitlements = Table(
    "entitlements",
    metadata,
    Column("resource_id", String, primary_key=True),
    Column("participant_id", ForeignKey("participants.id"), primary_key=True, index=True),
    Column("valid_from", Moment, primary_key=True),
    Column("valid_to", Moment),
    CheckConstraint("valid_to >= valid_from", "valid_to"),
)
