"""``claimbus oms``: from the outage system's snapshots to events, and what is parked on the way."""

import asyncio
import re
import signal
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import structlog
import typer

from claimbus.cli import parking
from claimbus.cli.logs import configure_logs
from claimbus.cli.options import AsJson, duration, group
from claimbus.cli.output import listing, print_json, say
from claimbus.cli.settings import load
from claimbus.cli.watching import Files, Watch, owners_in, owners_of, park_in
from claimbus.cli.wiring import Wiring
from claimbus.database import importing
from claimbus.events.catalogue import OUTAGE_CHANGES
from claimbus.events.errors import UnavailableError
from claimstore.memory import OutageMemory
from producers.oms import ABANDONED_AFTER, Taken, Watcher

COLUMNS: Final = ("file", "at", "outages", *OUTAGE_CHANGES, "parked", "unreadable", "note")

_log = structlog.get_logger("claimbus.cli.oms")

app = group("Outages: watch snapshots, release parked events.")
app.command("parked")(parking.list_parked)
app.command("release")(parking.release)


@app.command()
def watch(
    files: Annotated[list[Path], typer.Argument(help="csv, csv.gz or xlsx; a directory: its files by name.")],
    *,
    owners: Annotated[
        Path | None,
        typer.Option(help="Who owns what, as for 'participants import'. Default: as in the database."),
    ] = None,
    feed: Annotated[str, typer.Option(help="The feed's name: its memory and the events' source.")] = "oms",
    every: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="Go on, looking for changed files this often."
        ),
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Believe a file without outages: all have ended.")
    ] = False,
    abandoned_after: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="When another watcher's unpublished changes are carried through.",
            show_default="60s",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read snapshots of outages, and publish what changed from each to the next.

    Any number of watchers may watch one feed: each change is published once. Rows that cannot be read are
    reported, and the others go on. With --json, a line for each snapshot.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", feed):
        raise typer.BadParameter(f"{feed!r} is no name of lower-case letters, digits and hyphens")
    settings = load()
    report = _Report(ZoneInfo(settings.feed_timezone), as_json=as_json)
    older_than = ABANDONED_AFTER if abandoned_after is None else abandoned_after

    async def run() -> bool:
        async with Wiring(settings) as wiring:
            watch = Watch(
                await _watcher(wiring, feed, owners),
                timezone=settings.feed_timezone,
                allow_empty=allow_empty,
                tell=report.tell,
                complain=lambda reason: say(f"claimbus: {reason}"),
            )
            if every is None:
                await _watch_once(watch, Files(files), older_than)
            else:
                await _keep_watching(watch, Files(files), older_than, every, report.show)
            return watch.failed

    if every is not None:
        configure_logs(settings.log_level, settings.log_format)
    try:
        failed = asyncio.run(run())
    finally:
        report.show()
    if failed and every is None:
        raise typer.Exit(1)


async def _watcher(wiring: Wiring, feed: str, owners_file: Path | None) -> Watcher:
    settings, database, store = wiring.settings, wiring.database(), await wiring.store()
    publisher = await wiring.publisher(f"{feed}: publishes")
    if owners_file is None:
        owners, known = owners_in(database), database
    else:
        export = importing.read(owners_file, ZoneInfo(settings.feed_timezone))
        for problem in export.problems:
            say(str(problem))
        owners, known = owners_of(row.entitlement for row in export.rows), None  # the file says who there is
    return Watcher(
        wiring.producer(store, publisher, feed, database=known),
        OutageMemory(store.connection, feed, store.keys),
        owners=owners,
        park=park_in(database),
    )


async def _watch_once(watch: Watch, files: Files, older_than: timedelta) -> None:
    await watch.carry_through(older_than)
    for file in files.all():
        await watch.take(file)


async def _keep_watching(
    watch: Watch, files: Files, older_than: timedelta, every: timedelta, show: Callable[[], None]
) -> None:
    """Watch until SIGTERM, which lets the file being taken end. A server that is away is waited for."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        try:
            await watch.carry_through(older_than)
            for file in files.changed():
                try:
                    await watch.take(file)
                except UnavailableError:
                    files.put_back(file)
                    raise
        except UnavailableError as away:
            _log.warning("not watched", reason=str(away), next="try again")
        show()
        try:
            async with asyncio.timeout(every.total_seconds()):
                await stop.wait()
        except TimeoutError:
            pass


class _Report:
    """What a watch says: problems and JSON lines at once, the table of snapshots after each round."""

    def __init__(self, zone: ZoneInfo, *, as_json: bool) -> None:
        self._zone = zone
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []

    def tell(self, file: Path, taken: Taken) -> None:
        for problem in taken.problems:
            say(f"{file}:{problem.line}: {problem.column}: {problem.reason}")
        if self._as_json:
            print_json({"file": str(file)} | asdict(taken), indent=None)
            return
        at = f"{taken.at.astimezone(self._zone):%Y-%m-%d %H:%M}"
        self._rows.append(
            {"file": file.name, "at": at, "outages": taken.outages}
            | {type_.rpartition(".")[2]: count for type_, count in taken.published.items()}
            | {"parked": taken.parked or None, "unreadable": len(taken.problems) or None}
            | {"note": "older than what was seen" if taken.stale else None}
        )

    def show(self) -> None:
        if self._rows:
            listing(self._rows, COLUMNS, as_json=False)
            self._rows.clear()
