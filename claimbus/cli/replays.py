"""``claimbus replays``: the jobs that deliver dead letters again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from claimbus.cli import following
from claimbus.cli.database import open_database
from claimbus.cli.following import Standing, facts
from claimbus.cli.lookups import whole
from claimbus.cli.options import Actor, AsJson, Limit, Reason, group
from claimbus.cli.output import details, listing, print_json, say
from claimbus.cli.selection import refusals
from claimbus.cli.settings import load
from claimbus.database import replays
from claimbus.database.audit import Act
from claimbus.database.replays import Item, ItemState, Replay, State

if TYPE_CHECKING:
    from sqlalchemy import Connection

Id = Annotated[
    str,
    typer.Argument(
        parser=whole("replay"), metavar="ID", help="The job's ID, from 'replays list'; a beginning is enough."
    ),
]

COLUMNS: Final = (
    "id",
    "created_at",
    "state",
    "total",
    "waiting",
    "sent",
    "delivered",
    "dead_again",
    "skipped",
    "actor",
    "reason",
)
ITEM_COLUMNS: Final = ("position", "letter_id", "endpoint_id", "type", "state", "next_id", "detail")
WRONG: Final[tuple[ItemState, ...]] = ("dead again", "skipped", "cancelled")
"""Items that ``show`` lists unless told otherwise."""

app = group("Jobs that deliver dead letters again: watch, pause, resume, cancel.")


@app.command("list")
def list_(
    *,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List replays, newest first."""
    with open_database(load()) as database, database.snapshot() as sql:
        page = replays.find(sql, state and [state], limit=limit)
        found = [Standing(one, replays.progress(sql, one.id)) for one in page.rows]
    listing([facts(one) for one in found], COLUMNS, as_json=as_json, empty="nothing was replayed")


@app.command()
def show(
    id_: Id,
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Every letter, not only those that went wrong.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many letters at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show a replay, and its letters that died again or were not sent."""
    with refusals(), open_database(load()) as database, database.snapshot() as sql:
        standing = Standing(replays.get(sql, id_), replays.progress(sql, id_))
        page = replays.items(sql, id_, None if all_ else WRONG, limit=limit)
    rows = [_item(one) for one in page.rows]
    if as_json:
        print_json(facts(standing) | {"items": rows})
        return
    details(facts(standing), as_json=False)
    if rows:
        listing(rows, ITEM_COLUMNS, as_json=False)
    if page.cursor is not None:
        say(f"there are more than {limit} letters: give --limit")


@app.command()
def watch(id_: Id, as_json: AsJson = False) -> None:
    """Watch a replay until it is done or waits for somebody; exits with 1 unless all was delivered.

    Ctrl-C ends the watching, not the replay.
    """
    with refusals(), open_database(load()) as database:
        following.watch(database, id_, as_json=as_json)


@app.command()
def pause(id_: Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Send nothing more for the time being; what was sent is on its way."""
    _change(lambda sql: replays.pause(sql, id_, Act(actor, reason)), as_json=as_json)


@app.command()
def resume(
    id_: Id,
    *,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Send all of it, and pause for no failure any more.")
    ] = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Go on after a pause, with the next stage if this one is out."""
    act = Act(actor, reason)
    _change(lambda sql: replays.resume(sql, id_, act, keep_going=keep_going), as_json=as_json)


@app.command()
def cancel(id_: Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Send nothing more at all; letters that were not sent wait for an operator again."""
    _change(lambda sql: replays.cancel(sql, id_, Act(actor, reason)), as_json=as_json)


def _change(change: Callable[["Connection"], Replay], *, as_json: bool) -> None:
    """Change a job in a transaction, and show where it stands then."""
    with refusals(), open_database(load()) as database:
        with database.transaction() as sql:
            changed = change(sql)
        following.show_outcome(following.look(database, changed.id), as_json=as_json)


def _item(item: Item) -> dict[str, Any]:
    facts = {name: getattr(item, name) for name in ("position", "state", "state_at", "detail")}
    names = ("endpoint_id", "participant_id", "type", "message_id", "next_id")
    return facts | {"letter_id": item.letter.id} | {name: getattr(item.letter, name) for name in names}
