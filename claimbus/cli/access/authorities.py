"""``claimbus access authorities``: whose client certificates count, and when."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from claimbus.cli.access import grants
from claimbus.cli.access.files import read
from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, group, moment
from claimbus.cli.output import details, listing
from claimbus.cli.settings import load
from claimbus.database import authorities
from claimbus.database.audit import Act
from claimbus.database.authorities import Authority

app = group("Authorities whose client certificates count, several at once, each for a period.")

From = Annotated[
    datetime | None,
    typer.Option("--from", parser=moment, metavar="TIME", help="Counts from then on. Default: now."),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", parser=moment, metavar="TIME", help="Counts until then. Default: no end."),
]


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="Its certificate (PEM).")],
    *,
    from_: From = None,
    to: To = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an authority's client certificates count; one that is known gets this period in place of its own.

    It can issue a certificate of any subject, but for those that 'certificates add' binds to another.
    """
    pem = read(file)
    with open_database(load()) as database, database.transaction() as sql:
        added = authorities.put(sql, pem, Act(actor, reason), counts_from=from_, counts_to=to)
    details(_facts(added), as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List authorities, past and future ones too."""
    with open_database(load()) as database, database.snapshot() as sql:
        rows = [_facts(one) for one in authorities.find(sql)]
    columns = ("id", "subject", "counts_from", "counts_to", "expires_at")
    listing(
        rows, columns, as_json=as_json, empty="no authorities are known: client certificates do not count"
    )


@app.command("revoke")
def revoke(
    id_: grants.Id,
    *,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="From then on. Default: now.")
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an authority's client certificates count no more."""
    with open_database(load()) as database, database.transaction() as sql:
        ended = authorities.end(sql, id_, Act(actor, reason), at=at)
    details(_facts(ended), as_json=as_json)


def _facts(one: Authority) -> dict[str, Any]:
    return {
        "id": one.id,
        "subject": one.subject,
        "counts_from": one.counts_from,
        "counts_to": one.counts_to,
        "expires_at": one.expires_at,
    }
