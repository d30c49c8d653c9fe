"""``claimbus deadletters replay``: a preflight, a question, a job, and watching it to its end."""

import asyncio
from collections.abc import Collection
from typing import Annotated

import typer

from claimbus.cli import following, preview
from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason
from claimbus.cli.output import print_json, progress, say
from claimbus.cli.selection import All, Selection, selecting
from claimbus.cli.sending import DryRun, Rate, Yes, ask, must_be_askable, rate_of
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database import replays
from claimbus.database.audit import Act
from claimbus.deadletters.preflight import Preflight, Report


@selecting
def replay(
    selection: Selection,
    *,
    all_: All = False,
    rate: Rate = None,
    canary: Annotated[
        bool, typer.Option("--canary/--no-canary", help="Send 1, then 10, then the rest; or all at once.")
    ] = True,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch it to its end.")] = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Deliver dead letters again; exits with 1 unless all of them were delivered.

    First it shows what stands in the way: bodies, endpoints, entitlement. What is chosen then becomes a job,
    which 'claimbus work' runs, whatever happens to this command; letters that die later do not join it. It
    pauses by itself when a failure comes back.
    """
    settings = load()
    must_be_askable(yes=yes or dry_run)
    with open_database(settings) as database:
        with database.snapshot() as sql:
            ids = selection.pick(sql, "dead", all_=all_)
        report = asyncio.run(_preflight(settings, ids, rate_of(rate, settings)))
        if not as_json:
            preview.show(report)
        elif dry_run or not report.ready:
            print_json(report.as_json())
        if not report.ready:
            say("claimbus: none of them can be sent")
            raise typer.Exit(1)
        if dry_run:
            return
        if not yes:
            ask(f"Send {report.ready:,} of {report.letters:,} letters?")
        with database.transaction() as sql:
            job = replays.create(
                sql,
                ids,
                Act(actor, reason),
                selection=selection.words() or {"all": True},
                rate=report.rate,
                canary=canary,
                skipped=report.not_ready,
            )
        preflight = report.as_json()
        if detach:
            following.show_outcome(following.look(database, job.id), as_json=as_json, preflight=preflight)
        else:
            following.watch(database, job.id, as_json=as_json, preflight=preflight)


async def _preflight(settings: Settings, ids: Collection[str], rate: float | None) -> Report:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        preflight = Preflight(database, store, wiring.holds(store))
        with progress("preflight") as bar:
            return await preflight.run(ids, rate=rate, on_progress=bar)
