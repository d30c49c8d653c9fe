"""``claimbus outbox``: events kept in a file until RabbitMQ and Redis take them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer

from claimbus.cli.logs import configure_logs
from claimbus.cli.options import AsJson, duration, group
from claimbus.cli.output import listing, print_json, progress, say
from claimbus.cli.settings import load
from claimbus.cli.wiring import COMMAND_WITHIN, open_producer
from claimbus.events.errors import UnavailableError
from producers.outbox import Outbox, OutboxBusyError
from producers.relay import Relayed, relay

File = Annotated[Path, typer.Argument(help="The outbox's file.")]
Numbers = Annotated[list[int], typer.Argument(help="Of events that were set aside, from 'outbox list'.")]

_log = structlog.get_logger("claimbus.cli.outbox")

app = group("Events kept in a file until the servers are back.")


@app.command("list")
def list_(file: File, as_json: AsJson = False) -> None:
    """List what is in an outbox, oldest first; what can never be published has a reason."""
    with Outbox(_there(file)) as outbox:
        rows = [entry._asdict() for entry in outbox.entries()]
    for row in rows:
        row["put_at"] = datetime.fromtimestamp(row.pop("put_ms") / 1000, UTC)
    columns = ("number", "put_at", "type", "message_id", "size", "reason")
    listing(rows, columns, as_json=as_json, empty="the outbox is empty")


@app.command("relay")
def relay_(
    file: File,
    every: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="Go on, looking this often: 1s, 1m."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish what waits, in order; what can never be published is set aside, and exits with 1."""
    with Outbox(_there(file)) as outbox:
        if every is not None:
            asyncio.run(_keep_relaying(outbox, every))
            return
        relayed = asyncio.run(_relay(outbox))
    if as_json:
        facts = {"published": relayed.published, "known": relayed.known, "set_aside": relayed.set_aside}
        print_json(facts)
    else:
        known = f", {relayed.known} had been published before" if relayed.known else ""
        print(f"{relayed.published} published{known}")
    if relayed.set_aside:
        say(f"claimbus: {relayed.set_aside} can never be published; 'claimbus outbox list {file}' says why")
        raise typer.Exit(1)


@app.command()
def retry(file: File, numbers: Numbers) -> None:
    """Let events that were set aside wait again, say after a missing participant was added."""
    with Outbox(_there(file)) as outbox:
        print(f"{outbox.retry(numbers)} wait again")


@app.command()
def discard(file: File, numbers: Numbers) -> None:
    """Forget events that were set aside, for good."""
    with Outbox(_there(file)) as outbox:
        print(f"{outbox.discard(numbers)} discarded")


async def _relay(outbox: Outbox) -> Relayed:
    async with open_producer(load(), within=COMMAND_WITHIN) as producer:
        with progress("relaying") as done:
            total = sum(entry.reason is None for entry in outbox.entries())
            return await relay(
                outbox, producer, progress=lambda so_far: done(so_far.published + so_far.known, total)
            )


async def _keep_relaying(outbox: Outbox, every: timedelta) -> None:
    """Relay for ever; while a server is away, everything waits."""
    settings = load()
    configure_logs(settings.log_level, settings.log_format)
    while True:
        try:
            async with open_producer(settings) as producer:
                while True:
                    _log_what(await relay(outbox, producer))
                    await asyncio.sleep(every.total_seconds())
        except OutboxBusyError:
            raise
        except UnavailableError as away:
            _log.warning("not relayed", reason=str(away), next="try again")
        await asyncio.sleep(every.total_seconds())


def _log_what(relayed: Relayed) -> None:
    if relayed.set_aside:
        _log.error("can never be published", count=relayed.set_aside, next="set aside")
    if relayed.published or relayed.known:
        _log.info("relayed", published=relayed.published, known=relayed.known)


def _there(file: Path) -> Path:
    if not file.exists():
        raise typer.BadParameter(f"there is no outbox {file}")
    return file
