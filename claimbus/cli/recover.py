"""``claimbus recover``: what an endpoint missed since a time is delivered again, from the journal."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated

import typer

from claimbus.cli.lookups import whole
from claimbus.cli.options import Actor, AsJson, Reason, Until, past
from claimbus.cli.output import Bar, details, listing, print_json, progress, say
from claimbus.cli.selection import refusals
from claimbus.cli.sending import DryRun, Rate, Yes, ask, must_be_askable, rate_of
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database.audit import Act
from claimbus.deadletters.recover import Missing, Recovered, Recovery
from claimbus.events.event import format_time


def recover(
    *,
    endpoint: Annotated[
        str,
        typer.Option(
            parser=whole("endpoint"),
            metavar="ID",
            help="The endpoint that missed something; a beginning is enough.",
        ),
    ],
    since: Annotated[
        datetime,
        typer.Option(parser=past, metavar="TIME", help="From when on: 2h (ago), yesterday 14:00, ISO 8601."),
    ],
    until: Until = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="PATTERN", help="Only these event types: oms.#.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="What was delivered too, not only the rest.")] = False,
    rate: Rate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Deliver again what an endpoint missed since a time, for a participant who lost a day, say.

    What it is subscribed to and entitled to now is read from the journal, which goes back as far as a claim
    lives; what the attempts say was delivered is left out. Exits with 1 if a body is gone.
    """
    settings, act = load(), Act(actor, reason)

    def run(*, dry_run: bool) -> Recovered:
        return asyncio.run(
            _recover(
                settings,
                lambda recovery, bar: recovery.run(
                    endpoint,
                    since,
                    act=act,
                    until=until,
                    type_pattern=type_,
                    everything=all_,
                    rate=rate_of(rate, settings),
                    dry_run=dry_run,
                    on_progress=bar,
                ),
            )
        )

    with refusals():
        must_be_askable(yes=yes or dry_run)
        found = run(dry_run=dry_run or not yes)
        if not (dry_run or yes):
            _show_events(found, since)
            ask(f"Send {found.redelivered:,} deliveries to {endpoint}, which is {found.endpoint_state}?")
            found = run(dry_run=False)
    if dry_run and not as_json:
        _show_events(found, since)
    _show(found, sent=not dry_run, as_json=as_json)
    if found.gone:
        raise typer.Exit(1)


async def _recover(
    settings: Settings, run: Callable[[Recovery, Bar], Coroutine[None, None, Recovered]]
) -> Recovered:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        recovery = Recovery(
            wiring.database(),
            await wiring.store(),
            await wiring.connection("recover: reads"),
            await wiring.publisher("recover: publishes"),
            claim_life=settings.claim_life,
        )
        with progress("journal") as bar:
            return await run(recovery, bar)


def _show_events(found: Recovered, since: datetime) -> None:
    """Show which events would be sent, the first of them, and whether the journal has the whole period."""
    if found.events:
        listing([one._asdict() for one in found.events], Missing._fields, as_json=False)
    if found.redelivered > len(found.events):
        say(f"and {found.redelivered - len(found.events):,} more")
    if found.journal_begins is None:
        say("claimbus: the journal has nothing")
    elif found.journal_begins > since:
        begins = format_time(found.journal_begins)
        say(f"claimbus: the journal begins at {begins}: what was published before is not in it")


def _show(found: Recovered, *, sent: bool, as_json: bool) -> None:
    counts = found.counts()
    facts = {"recovery": counts.pop("replay"), **counts}
    if not sent:
        facts["journal_begins"] = found.journal_begins
    if as_json:
        events = {} if sent else {"events": [one._asdict() for one in found.events]}
        print_json(facts | events | {"dry_run": not sent})
        return
    if not sent:
        facts["would_be_redelivered"] = facts.pop("redelivered")
    details(facts, as_json=False)
    if found.endpoint_state != "active":
        say(f"claimbus: the endpoint is {found.endpoint_state}: its queue keeps what is sent until it is not")
    if found.waiting:
        say(f"claimbus: {found.waiting:,} tickets wait in its queue; what is among them comes twice")
    if found.gone:
        say(f"claimbus: the bodies of {found.gone:,} events are gone")
