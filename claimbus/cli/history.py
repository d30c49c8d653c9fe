"""``claimbus attempts``, ``holds`` and ``audit``: what happened, newest first."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from claimbus.cli.database import open_database
from claimbus.cli.lookups import OfEndpoint
from claimbus.cli.options import AsJson, Limit, Since, group
from claimbus.cli.output import listing
from claimbus.cli.settings import load
from claimbus.database import attempts as tries
from claimbus.database import audit as entries
from claimbus.database import endpoints
from claimbus.database import holds as hold_events
from claimbus.database.schema import moment_of
from consumers.verdict import Verdict

attempts = group("What became of deliveries.")
holds = group("Which endpoints were held, and why.")
audit = group("Who changed what.")


@attempts.callback()
@holds.callback()
@audit.callback()
def _group() -> None:
    """Keep ``list`` a subcommand: typer would drop the name of an only one."""


@attempts.command("list")
def list_attempts(
    *,
    endpoint: OfEndpoint = None,
    message: Annotated[str | None, typer.Option(metavar="ID", help="Only of this event.")] = None,
    verdict: Annotated[
        list[Verdict] | None, typer.Option(help="Only those that ended so; repeat it.")
    ] = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List attempts to deliver, newest first."""
    wanted = tries.Filter(
        endpoint_ids=None if endpoint is None else [endpoint],
        message_id=message,
        verdicts=[one.value for one in verdict] if verdict else None,
        since=since,
    )
    with open_database(load()) as database, database.snapshot() as sql:
        found = tries.newest(sql, wanted, limit)
    columns = (
        "started_at",
        "endpoint_id",
        "type",
        "message_id",
        "attempt",
        "verdict",
        "status",
        "next",
        "replay",
        "detail",
    )
    rows = []
    for one in found:
        facts = one._asdict() | {"started_at": moment_of(one.started_ms)}
        del facts["started_ms"], facts["id"]
        rows.append(facts)
    listing(rows, columns, as_json=as_json, empty="no attempt was made")


@holds.command("list")
def list_holds(
    *,
    now: Annotated[bool, typer.Option("--now", help="Only the endpoints that are held now.")] = False,
    endpoint: OfEndpoint = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List when endpoints were held, released or disabled, and why, newest first."""
    if now:
        rows, columns = asyncio.run(_held(endpoint)), ("endpoint_id", "since", "failures", "next_probe")
        listing(rows, columns, as_json=as_json, empty="no endpoint is held")
        return
    with open_database(load()) as database, database.snapshot() as sql:
        found = hold_events.find(sql, endpoint_id=endpoint, since=since, limit=limit)
    columns = ("at", "endpoint_id", "what", "reason")
    listing([asdict(one) for one in found], columns, as_json=as_json, empty="no endpoint was held")


@audit.command("list")
def list_entries(
    *,
    kind: Annotated[entries.Kind | None, typer.Option(help="Only of this kind.")] = None,
    object_: Annotated[
        str | None, typer.Option("--object", metavar="ID", help="Only of this object.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this actor did.")] = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List changes, newest first."""
    with open_database(load()) as database, database.snapshot() as sql:
        page = entries.find(sql, kind=kind, object_id=object_, actor=actor, since=since, limit=limit)
    columns = ("at", "actor", "action", "kind", "object_id", "reason")
    listing([asdict(one) for one in page.rows], columns, as_json=as_json, empty="nothing was changed")


async def _held(endpoint: str | None) -> list[dict[str, Any]]:
    from claimbus.cli.wiring import COMMAND_WITHIN, Wiring  # noqa: PLC0415 - only this needs a server
    from claimstore.holds import Holds  # noqa: PLC0415

    async with Wiring(load(), within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        known = [endpoint] if endpoint else [one.id for one in await database.read(endpoints.find)]
        states = await Holds(store.connection).state(known)
    return [
        {
            "endpoint_id": name,
            "since": moment_of(state.since),
            "failures": state.failures,
            "next_probe": moment_of(state.next_probe or 0),
        }
        for name, state in states.items()
        if state.since is not None
    ]
