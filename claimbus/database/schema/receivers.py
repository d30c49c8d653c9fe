"""Where participants receive: endpoints, what they subscribe to, what deliveries to them are signed with.

The bindings of their queues are dated, so that it can be told later what should have reached them.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
)

from claimbus.database.schema.base import Moment, Number, metadata

# A webhook that is active here, and not verified, is pending: see endpoint_rows.
endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String, primary_key=True),
    Column("participant_id", ForeignKey("participants.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("url", String),
    Column("mode", String, nullable=False),
    Column("ordered", Boolean, nullable=False),
    Column("latest_only", Boolean, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("rate_limit", Float),
    Column("timeout_s", Float, nullable=False),
    Column("age_limit_s", Integer, nullable=False),
    Column("schema_version", Integer),
    Column("ca_pem", String),
    Column("state", String, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("verified_at", Moment),
    Column("removed_at", Moment),
    Column("allowed_rate", Float),
    CheckConstraint("kind IN ('webhook', 'stream')", "kind"),
    CheckConstraint("mode IN ('body', 'claim')", "mode"),
    CheckConstraint("state IN ('active', 'paused', 'disabled')", "state"),
)
_kept = endpoints.c.removed_at.is_(None)
Index(
    "uq_endpoints_participant_id_name",
    endpoints.c.participant_id,
    endpoints.c.name,
    unique=True,
    sqlite_where=_kept,
    postgresql_where=_kept,
)

endpoint_secrets = Table(
    "endpoint_secrets",
    metadata,
    Column("id", Number, primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False, index=True),
    Column("value", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
)

# The certificate that an endpoint's receiver showed at a URL, once one was seen there.
receiver_certificates = Table(
    "receiver_certificates",
    metadata,
    Column("endpoint_id", ForeignKey("endpoints.id"), primary_key=True),
    Column("url", String, nullable=False),
    Column("looked_at", Moment, nullable=False),
    Column("fingerprint", String),
    Column("subject", String),
    Column("issuer", String),
    Column("begins_at", Moment),
    Column("ends_at", Moment),
    Column("seen_at", Moment),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("endpoint_id", ForeignKey("endpoints.id"), primary_key=True),
    Column("pattern", String, primary_key=True),
)

bindings = Table(
    "bindings",
    metadata,
    Column("id", Number, primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("exchange", String, nullable=False),
    Column("key", String, nullable=False),
    Column("bound_from", Moment, nullable=False),
    Column("bound_to", Moment),
)
_bound = bindings.c.bound_to.is_(None)
Index(
    "uq_bindings_endpoint_id_generation_exchange_key",
    bindings.c.endpoint_id,
    bindings.c.generation,
    bindings.c.exchange,
    bindings.c.key,
    unique=True,
    sqlite_where=_bound,
    postgresql_where=_bound,
)
