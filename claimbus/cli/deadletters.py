"""``claimbus deadletters``: what was given up, and what an operator does about it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

import typer

from claimbus.cli import looking, reconciling, replaying, work
from claimbus.cli.database import open_database
from claimbus.cli.durations import show_duration
from claimbus.cli.options import Actor, AsJson, Limit, Reason, group
from claimbus.cli.output import listing, print_json, say, sparkline
from claimbus.cli.selection import All, Selection, selecting
from claimbus.cli.settings import load
from claimbus.database import letters
from claimbus.database.audit import Act
from claimbus.database.groups import By
from claimbus.events.event import format_time

COLUMNS: Final = (
    "id",
    "died_at",
    "state",
    "participant_id",
    "endpoint_id",
    "type",
    "cause",
    "status",
    "detail",
)

TREND: Final = 24
"""Bars of a group's trend."""

EXAMPLE: Final = 80
"""Characters of an error that are shown in a table."""

app = group("Deliveries that were given up: look, replay, discard.")
app.command("show")(looking.show)
app.command("replay")(replaying.replay)
app.command("reconcile")(reconciling.reconcile)
app.command("attend")(work.attend)


@app.command("list")
@selecting
def list_(selection: Selection, *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List dead letters, newest first; without --state those that wait for an operator."""
    with open_database(load()) as database, database.snapshot() as sql:
        page = letters.find(sql, selection.look(sql), limit=limit)
    rows = [looking.facts(one) for one in page.rows]
    listing(rows, COLUMNS, as_json=as_json, empty="no letter is like that")
    if page.cursor is not None:
        say(f"there are more than {limit}: narrow them down, or give --limit")


@app.command()
@selecting
def groups(
    selection: Selection,
    *,
    by: Annotated[By, typer.Option(help="What the letters of a group have in common.")] = "error",
    limit: Annotated[int, typer.Option(min=1, help="How many groups at most, the biggest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Group dead letters by what went wrong, or by something else, the biggest group first.

    The trend goes from the first letter of all groups to the last. Groups by error have an ID for --group,
    and the error of their newest letter as an example.
    """
    with open_database(load()) as database, database.snapshot() as sql:
        found = letters.groups(sql, selection.look(sql), by=by, buckets=TREND, limit=limit)
        samples = {one.id: one.detail for one in letters.many(sql, [group.sample for group in found])}
    rows = [asdict(one) | {"example": samples[one.sample]} for one in found]
    if as_json:
        print_json(rows)
        return
    named, error = ("group", ("cause", "error")) if by == "error" else (by, ())
    rows = [
        row | {named: row["key"], "error": row["example"][:EXAMPLE], "trend": _trend(row["trend"])}
        for row in rows
    ]
    columns = (named, *error, "count", "first", "last", "trend", "sample")
    empty = "no letter is like that; --state replaying shows those that are in a replay"
    listing(rows, columns, as_json=False, empty=empty)
    if found and len(found) < limit:  # else there may be earlier and later ones that are not shown
        first, last = min(one.first for one in found), max(one.last for one in found)
        bar = show_duration((last - first).total_seconds() / TREND)
        say(f"trend: {TREND} bars of {bar} each, from {_second(first)} to {_second(last)}")


@app.command()
@selecting
def discard(
    selection: Selection, *, all_: All = False, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Set dead letters aside that need not be delivered; --reason must say why. They can be restored."""
    with open_database(load()) as database, database.transaction() as sql:
        ids = selection.pick(sql, "dead", all_=all_)
        count = letters.discard(sql, ids, Act(actor, reason))
    _tell("discarded", count, as_json=as_json)


@app.command()
@selecting
def restore(
    selection: Selection, *, all_: All = False, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Take discarded letters back: they wait for an operator again."""
    with open_database(load()) as database, database.transaction() as sql:
        ids = selection.pick(sql, "discarded", all_=all_)
        count = letters.restore(sql, ids, Act(actor, reason))
    _tell("restored", count, as_json=as_json)


def _trend(counts: Sequence[int]) -> str:
    """Return the bars, and how many letters the highest one stands for."""
    return f"{sparkline(counts)} max {max(counts):,}"


def _second(at: datetime) -> str:
    return format_time(at.replace(microsecond=0))


def _tell(done: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({done: count})
    else:
        print(f"{count:,} {done}")
