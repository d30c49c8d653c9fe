"""``claimbus deadletters reconcile``: whether every delivery is accounted for."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated

import typer

from claimbus.cli.options import AsJson, Since, Until, duration
from claimbus.cli.output import details, listing, print_json, progress, say
from claimbus.cli.selection import refusals
from claimbus.cli.settings import load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.deadletters.reconcile import WITHIN, Reconciled, Reconciliation
from claimbus.events.event import format_time


def reconcile(
    *,
    since: Since = None,
    until: Until = None,
    within: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long to look again while something is under way.",
            show_default=f"{WITHIN:g}s",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many open deliveries are listed.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Go through the journal and see whether every delivery was made, given up, or is under way.

    Complete means: as much waits as is open, so nothing is lost; otherwise it exits with 1. Settled means:
    everything is recorded, and nothing waits in a queue.
    """
    longest = WITHIN if within is None else within.total_seconds()
    with refusals():
        found = asyncio.run(_reconcile(since, until, longest))
    if as_json:
        told = found.as_json()
        print_json(told | {"open": told["open"][:limit], "open_in_all": len(found.open)})
    else:
        _show(found, limit)
    if not found.complete:
        raise typer.Exit(1)


async def _reconcile(since: datetime | None, until: datetime | None, within: float) -> Reconciled:
    settings = load()
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        reconciliation = Reconciliation(
            wiring.database(),
            await wiring.store(strict=False),
            await wiring.connection("reconcile: reads"),
            wiring.topology.ladder,
            settings.claim_life,
        )
        with progress("journal") as bar:
            return await reconciliation.run(since, until, within=within, on_progress=bar)


def _show(found: Reconciled, limit: int) -> None:
    if found.open:
        rows = [one._asdict() for one in sorted(found.open)[:limit]]
        listing(rows, ("endpoint_id", "published_at", "type", "message_id"), as_json=False)
    by_endpoint = Counter(one.endpoint_id for one in found.open).most_common()
    sums = {
        "complete": found.complete,
        "settled": found.settled,
        "expected": found.expected,
        "delivered": found.delivered,
        "superseded": found.superseded,
        "dead letters": found.dead,
        "open": [f"{count:,} of {endpoint_id}" for endpoint_id, count in by_endpoint] or 0,
        "waiting": [f"{count:,} in {queue}" for queue, count in found.waiting.items()] or 0,
        "doubtful": found.doubtful or None,
        "unknown": found.unknown or None,
    }
    details(sums, as_json=False)
    if found.open and not found.complete:
        endpoint_id, since = found.open[0].endpoint_id, format_time(found.open[0].published_at)
        say(f"claimbus: more is open than waits; 'claimbus recover --endpoint {endpoint_id} --since {since}'")
