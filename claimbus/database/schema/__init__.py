"""The tables, as the code sees them; ``migrations`` brings a database there.

They lie by topic: ``owners`` (whose events are whose), ``receivers`` (where participants receive),
``deliveries`` (what happened there), ``deadletters`` (what was given up), ``redeliveries`` (delivering it
again), ``events`` (what operators decide about them), ``access`` (who may use the portal), ``audit`` (who
changed what). ``base`` has what all are made of. Import them from here: a foreign key names its table, so all
must be there before one is used.
"""

from typing import Final

from claimbus.database.schema.access import (
    authorities,
    certificates,
    revocations,
    sessions,
    shown_certificates,
    tokens,
)
from claimbus.database.schema.audit import audit_entries, tidings
from claimbus.database.schema.base import Moment, metadata, milliseconds, moment_of
from claimbus.database.schema.deadletters import fingerprints, kept_chunks, kept_claims, letters
from claimbus.database.schema.deliveries import attempts, hold_events, is_rare
from claimbus.database.schema.events import parked_events, type_dates
from claimbus.database.schema.owners import contacts, entitlements, organisations, participants
from claimbus.database.schema.receivers import (
    bindings,
    endpoint_secrets,
    endpoints,
    receiver_certificates,
    subscriptions,
)
from claimbus.database.schema.redeliveries import recoveries, replay_items, replay_participants, replays

REVISION: Final = "0009"
"""The newest migration, so that a start need not load Alembic to see that there is nothing to do."""

__all__ = [
    "REVISION",
    "Moment",
    "attempts",
    "audit_entries",
    "authorities",
    "bindings",
    "certificates",
    "contacts",
    "endpoint_secrets",
    "endpoints",
    "entitlements",
    "fingerprints",
    "hold_events",
    "is_rare",
    "kept_chunks",
    "kept_claims",
    "letters",
    "metadata",
    "milliseconds",
    "moment_of",
    "organisations",
    "parked_events",
    "participants",
    "receiver_certificates",
    "recoveries",
    "replay_items",
    "replay_participants",
    "replays",
    "revocations",
    "sessions",
    "shown_certificates",
    "subscriptions",
    "tidings",
    "tokens",
    "type_dates",
]
