"""What is looked up in the database for those who start: who there is, and whether ages fit."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from claimbus.database import endpoints, participants
from claimbus.database.engine import Database
from claimbus.events.errors import ConfigurationError

PARTICIPANTS_KNOWN_FOR: Final = 5.0
"""Seconds."""


def known_participants(database: Database) -> Callable[[], frozenset[str]]:
    """Return what gives the participants' IDs, looked up every few seconds at most."""
    known: frozenset[str] = frozenset()
    until = 0.0

    def participant_ids() -> frozenset[str]:
        nonlocal known, until
        if time.monotonic() >= until:
            with database.snapshot() as sql:
                known = frozenset(one.id for one in participants.find(sql))
            until = time.monotonic() + PARTICIPANTS_KNOWN_FOR
        return known

    return participant_ids


def check_age_limits(database: Database, life: timedelta) -> None:
    """Refuse to start where a delivery could outlive its body."""
    with database.snapshot() as sql:
        for endpoint in endpoints.find(sql):
            if endpoint.age_limit_s >= life.total_seconds():
                raise ConfigurationError(
                    "CLAIMBUS_CLAIM_LIFE",
                    f"({life}) must exceed the age limit of every endpoint; that of {endpoint.id} is "
                    f"{timedelta(seconds=endpoint.age_limit_s)}",
                )
