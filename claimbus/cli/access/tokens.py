"""``claimbus access tokens``: bearer tokens."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from claimbus.cli.access import grants
from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, duration, group
from claimbus.cli.output import details, listing, say
from claimbus.cli.settings import load
from claimbus.database import tokens
from claimbus.database.audit import Act
from claimbus.database.tokens import Token

app = group("Bearer tokens, for whoever has no client certificate.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who or what will use it, for the audit.")],
    *,
    role: grants.Roles,
    participant: grants.Participant = None,
    organisation: grants.Organisation = None,
    publishes: grants.Publishes = None,
    lives: Annotated[
        timedelta,
        typer.Option(
            parser=duration, metavar="DURATION", help="How long it counts: 90d.", show_default="90d"
        ),
    ] = timedelta(days=90),
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Add a token and show it, this once: it is kept nowhere."""
    act = Act(actor, reason)
    with open_database(load()) as database, database.transaction() as sql:
        grant = grants.granted(role, participant, organisation, publishes)
        added, token = tokens.add(sql, name, grant, act, expires_at=act.at + lives)
    details({**_facts(added), "token": token}, as_json=as_json)
    if not as_json:
        say("Keep the token now: it cannot be shown again.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List tokens, those that count no more too."""
    with open_database(load()) as database, database.snapshot() as sql:
        rows = [_facts(one) for one in tokens.find(sql)]
    columns = ("id", "name", "roles", "participant", "organisation", "publishes", "expires_at", "revoked_at")
    listing(rows, (*columns, "used_at"), as_json=as_json, empty="there are no tokens")


@app.command("revoke")
def revoke(id_: grants.Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a token count no more."""
    with open_database(load()) as database, database.transaction() as sql:
        revoked = tokens.revoke(sql, id_, Act(actor, reason))
    details(_facts(revoked), as_json=as_json)


def _facts(one: Token) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        **grants.facts(one.grant),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "revoked_at": one.revoked_at,
        "used_at": one.used_at,
    }
