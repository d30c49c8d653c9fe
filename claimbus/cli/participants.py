"""``claimbus participants``: who receives, what they own, and which event types are open to them."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, group
from claimbus.cli.output import details, listing, print_json, say
from claimbus.cli.provisioning import provision
from claimbus.cli.settings import load
from claimbus.database import endpoints, entitlements, importing, participants
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.participants import EVERY_TYPE, Participant

Id = Annotated[str, typer.Argument(metavar="ID", help="The scheduling coordinator ID: PGAE.")]
Patterns = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATTERN", help="Event types: oms.#, market.*.closed, # for all."),
]

app = group("Participants, and what they may see.")


@app.command()
def add(
    id_: Id,
    *,
    organisation: Annotated[str, typer.Option(help="The company that it belongs to; added if it is new.")],
    open_types: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Event types open to it; repeat it. Default: all."),
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Add a participant."""
    types = EVERY_TYPE if open_types is None else tuple(open_types)
    with _database() as database, database.transaction() as sql:
        is_new = organisation not in participants.find_organisations(sql)
        added = participants.add(sql, id_, organisation, Act(actor, reason), event_types=types)
    if is_new:
        say(f"claimbus: {organisation} is a new organisation")
    details(_facts(added), as_json=as_json)


@app.command("list")
def list_(
    organisation: Annotated[str | None, typer.Option(help="Only this organisation's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List participants."""
    with _database() as database, database.snapshot() as sql:
        found = participants.find(sql, organisation_id=organisation)
    columns = ("id", "organisation", "event_types", "created_at")
    listing([_facts(one) for one in found], columns, as_json=as_json, empty="there are no participants")


@app.command()
def show(id_: Id, as_json: AsJson = False) -> None:
    """Show a participant, its organisation's contacts, the resources that it owns now, and its endpoints."""
    with _database() as database, database.snapshot() as sql:
        found = participants.get(sql, id_)
        contacts = participants.contacts_of(sql, found.organisation_id)
        owned = entitlements.find(sql, participant_id=id_, at=datetime.now(UTC))
        places = endpoints.find(sql, participant_id=id_)
    facts = _facts(found) | {
        "contacts": contacts,
        "endpoints": [f"{one.id} {one.name} ({one.state})" for one in places],
        "resources": [one.resource_id for one in owned],
    }
    details(facts, as_json=as_json)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV: organisation, participant, resource_id, valid_from, valid_to.")
    ],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it ends more than half of what is known.")
    ] = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Take over who owns what from an export of the access-management system, as the whole truth.

    A row that cannot be read is reported, and exits with 1; its resource stays as it is.
    """
    settings = load()
    export = importing.read(file, ZoneInfo(settings.feed_timezone))
    with _database() as database, database.transaction() as sql:
        done = importing.take_over(sql, export, Act(actor, reason), force=force)
    for problem in done.problems:
        say(str(problem))
    counts = {name: getattr(done, name) for name in ("added", "changed", "closed", "unchanged")}
    if as_json:
        print_json(counts | {"problems": [problem._asdict() for problem in done.problems]})
    else:
        print("entitlements: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if done.problems:
        raise typer.Exit(1)


@app.command()
def open_types(
    id_: Id,
    patterns: Patterns = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Close all.")] = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Open exactly these event types to a participant; all its endpoints are bound anew at once."""
    if bool(patterns) == none:
        raise typer.BadParameter("give the patterns of the event types to open, or --none")
    with _database() as database, database.transaction() as sql:
        changed = participants.open_event_types(sql, id_, tuple(patterns or ()), Act(actor, reason))
        places = endpoints.find(sql, participant_id=id_)
    details(_facts(changed), as_json=as_json)
    if not provision([one.id for one in places]):
        say("claimbus: workers do not notice this change by themselves: run the command again then")
        raise typer.Exit(1)


def _database() -> Database:
    return open_database(load())


def _facts(one: Participant) -> dict[str, Any]:
    facts = asdict(one)
    facts["organisation"] = facts.pop("organisation_id")
    return facts
