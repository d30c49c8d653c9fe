"""``claimbus event-types``: which there are, and when they are deprecated and end."""

from datetime import date
from typing import Annotated, Any

import typer

from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, day, group
from claimbus.cli.output import details, listing
from claimbus.cli.settings import load
from claimbus.database import type_dates
from claimbus.database.audit import Act
from claimbus.events import catalogue
from claimbus.events.catalogue import EventType, Retirement

app = group("Event types, and when they are deprecated and end.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the event types, their versions, and the dates that are in force."""
    with open_database(load()) as database, database.snapshot() as sql:
        types = type_dates.types_in_force(sql)
    rows = [_facts(kind) for _, kind in sorted(types.items())]
    listing(rows, ("name", "versions", "deprecated", "sunset", "description"), as_json=as_json)


@app.command()
def dates(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="The event type: market.dam.closed.")],
    *,
    deprecated: Annotated[
        date | None, typer.Option(parser=day, metavar="DAY", help="From when nobody should rely on it.")
    ] = None,
    sunset: Annotated[
        date | None, typer.Option(parser=day, metavar="DAY", help="From when it is not sent any more.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Back to the catalogue's own dates.")] = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Say when a type is deprecated and ends: participants read it in the headers of its events.

    Workers and portals heed it within half a minute.
    """
    if clear == bool(deprecated or sunset):
        raise typer.BadParameter("give --deprecated, --sunset or both; or --clear")
    catalogue.lookup(name)
    act = Act(actor, reason)
    with open_database(load()) as database, database.transaction() as sql:
        if clear:
            type_dates.remove(sql, name, act)
        else:
            type_dates.put(sql, name, Retirement(deprecated, sunset), act)
        found = type_dates.types_in_force(sql)[name]
    details(_facts(found), as_json=as_json)


def _facts(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "description": kind.description,
        "versions": [one.version for one in kind.versions],
        "deprecated": kind.deprecated,
        "sunset": kind.sunset,
    }
