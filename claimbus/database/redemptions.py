"""Who was given a claim's body over the portal: rows of the audit, written many at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert

from claimbus.database.schema import audit_entries


class Redemption(NamedTuple):
    """Somebody was given ``size`` bytes of a claim's body. ``organisation_id`` is theirs."""

    at: datetime
    actor: str
    organisation_id: str | None
    claim_id: str
    size: int


def record(connection: Connection, redemptions: Sequence[Redemption]) -> None:
    """Add an entry for each, as `claimbus.database.audit.append` does."""
    rows = [
        {
            "at": one.at,
            "actor": one.actor,
            "action": "redeemed",
            "kind": "claim",
            "object_id": one.claim_id,
            "organisation_id": one.organisation_id,
            "after": {"bytes": one.size},
            "reason": "",
        }
        for one in redemptions
    ]
    if rows:
        connection.execute(insert(audit_entries), rows)
