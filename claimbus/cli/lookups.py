"""What is looked up in the database for those who start: who there is, whether ages fit, what an ID means."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Final

import typer

from claimbus.cli.commands import WrongUsageError
from claimbus.cli.database import open_database
from claimbus.cli.durations import show_duration
from claimbus.cli.settings import load
from claimbus.database import abbreviated, endpoints, participants
from claimbus.database.abbreviated import Kind
from claimbus.database.engine import Database
from claimbus.events.errors import ConfigurationError, InvalidInputError

PARTICIPANTS_KNOWN_FOR: Final = 5.0
"""Seconds."""


def whole(kind: Kind) -> Callable[[str], str]:
    """Return what gives the whole ID of the one thing whose ID begins as it was typed.

    That raises WrongUsageError when there is none or are several.
    """

    def resolve(typed: str) -> str:
        with open_database(load()) as database, database.snapshot() as sql:
            try:
                return abbreviated.resolve(sql, kind, typed)
            except InvalidInputError as wrong:
                raise WrongUsageError(wrong.field, wrong.reason) from wrong

    return resolve


OfEndpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", parser=whole("endpoint"), metavar="ID", help="Of this endpoint; a beginning is enough."
    ),
]


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
                    f"({show_duration(life.total_seconds())}) must exceed the age limit of every endpoint;"
                    f" that of {endpoint.id} is {show_duration(endpoint.age_limit_s)}",
                )
