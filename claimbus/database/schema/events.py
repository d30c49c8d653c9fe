"""What operators decide about events: whose a parked one is, and when a type of event ends."""

from sqlalchemy import JSON, Column, Index, Integer, LargeBinary, String, Table

from claimbus.database.schema.base import Moment, metadata

parked_events = Table(
    "parked_events",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("resource_id", String, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("size", Integer, nullable=False),
    Column("parked_at", Moment, nullable=False),
    Column("released_at", Moment),
    Column("released_by", String),
    Column("body", LargeBinary, nullable=False),
    Index("ix_parked_events_parked_at", "parked_at"),
)

# Days (ISO 8601) on which event types are deprecated and end, where they are not those of the catalogue.
type_dates = Table(
    "type_dates",
    metadata,
    Column("type", String, primary_key=True),
    Column("deprecated", String),
    Column("sunset", String),
)
