"""``./dev demo``: the main job on a sample or on a report, watched and judged."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, redirect_stderr
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from claimbus.cli.demo.child import child, last_words, work
from claimbus.cli.demo.run import Run
from claimbus.cli.demo.scenario import Scenario, make_scenario
from claimbus.cli.demo.stage import Stage, settings_of
from claimbus.cli.demo.summary import prospect, summary
from claimbus.cli.demo.verdict import Verdict
from claimbus.cli.demo.vhost import own_vhost
from claimbus.cli.demo.view import View
from claimbus.cli.logs import configure_logs
from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import load
from claimbus.database import tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.events.errors import ClaimbusError, ConfigurationError, UnavailableError

AMQP_URL, REDIS_URL, MANAGEMENT_URL = "CLAIMBUS_AMQP_URL", "CLAIMBUS_REDIS_URL", "CLAIMBUS_MANAGEMENT_URL"
WORKERS: Final = 2
WORKER: Final = "worker"
"""The name of their log."""

PORTAL: Final = (sys.executable, "-m", "claimbus", "portal")

PREFIX: Final = "claimbus-demo-"
KEPT: Final = 24 * 3600.0
"""Seconds for which what a run wrote is kept."""

File: Final = partial(typer.Option, exists=True, dir_okay=False, resolve_path=True)


def demo(
    *,
    report: Annotated[
        Path | None, File(help="A curtailment report (csv, csv.gz, xlsx) in place of the sample.")
    ] = None,
    owners: Annotated[
        Path | None, File(help="CSV: organisation, participant, resource_id, valid_from, valid_to.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Only the first trade dates.")] = None,
    participants: Annotated[
        int | None, typer.Option(min=5, help="So many made-up participants, when there is no owners file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as the last line.")] = False,
) -> None:
    """Run the whole bus on a sample and verify it by the receivers' own records."""
    if owners and participants:
        raise typer.BadParameter("an owners file says who the participants are", param_hint="--participants")
    console = Console()
    try:
        _require_servers()
        scenario = make_scenario(report, owners_file=owners, days=days, participants=participants)
        verdict = asyncio.run(_demo(scenario, console))
    except (ClaimbusError, OSError, ValueError) as failed:
        console.print(f"demo: {failed}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from failed
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("demo: stopped, and everything that it started")
        raise typer.Exit(128 + signal.SIGINT) from None
    if as_json:
        print(json.dumps(verdict.as_json()))
    raise typer.Exit(0 if verdict.ok else 1)


async def _demo(scenario: Scenario, console: Console) -> Verdict:
    demo = asyncio.current_task()
    assert demo is not None  # noqa: S101 - asyncio.run made it
    for told in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(told, demo.cancel)
    directory = _fresh_directory()
    _log_to(directory / "demo.log")
    console.print(prospect(scenario))
    with View(console, live=True) as view:
        async with _place(directory.name, view) as (amqp_url, own_vhost):
            redis_url = os.environ[REDIS_URL]
            settings = settings_of(scenario.plan, directory, amqp_url=amqp_url, redis_url=redis_url)
            settings["CLAIMBUS_PORTAL_LISTEN"] = f"127.0.0.1:{free_ports(1)[0]}"
            _settle_in(settings, directory)
            verdict = await _run(scenario, directory, view, console, own_vhost=own_vhost)
    console.print(summary(verdict, directory))
    return verdict


async def _run(
    scenario: Scenario, directory: Path, view: View, console: Console, *, own_vhost: bool
) -> Verdict:
    began = time.monotonic()
    view.phase("participants", f"{len(scenario.participants)}, with their endpoints and receivers")
    view.plan(scenario.plan, scenario.expectation)
    async with (
        Stage.open(scenario, load(), directory, own_vhost=own_vhost) as stage,
        Run.open(stage, view) as run,
    ):
        async with (
            child(work(WORKERS), directory, WORKER, os.environ) as worker,
            child(PORTAL, directory, "portal", os.environ),
        ):
            await _tell_where_to_look(stage, console)
            await run.carry_out(_mind(worker, directory))
        return await run.judge(time.monotonic() - began)


async def _tell_where_to_look(stage: Stage, console: Console) -> None:
    operator, act = Grant(frozenset({Role.OPERATOR})), Act("demo")
    ends = act.at + timedelta(days=1)
    _, token = await stage.database.run(
        lambda sql: tokens.add(sql, "the demo's operator", operator, act, expires_at=ends)
    )
    address = f"http://{stage.wiring.settings.portal_listen}"
    text = f"Look at it while it runs: {address} (token {token})\n"
    console.print(text, highlight=False, soft_wrap=True)


async def _mind(worker: Process, directory: Path) -> None:
    await worker.wait()
    raise UnavailableError(f"the workers ended. {last_words(directory, WORKER)}")


def _require_servers() -> None:
    for name in (AMQP_URL, REDIS_URL):
        if name not in os.environ:
            raise ConfigurationError(name, "is not set; ./dev demo finds or starts the servers")


@asynccontextmanager
async def _place(name: str, view: View) -> AsyncIterator[tuple[str, bool]]:
    """Yield the URL of a vhost, and whether it is the run's own: without the management API it cannot be."""
    amqp_url, management_url = os.environ[AMQP_URL], os.environ.get(MANAGEMENT_URL)
    if management_url is None:
        view.phase("services", f"in the vhost of {AMQP_URL}, which nobody else should use meanwhile")
        yield amqp_url, False
        return
    view.phase("services", f"in a vhost of its own, {name}")
    async with own_vhost(management_url, amqp_url, name) as url:
        yield url, True


def _settle_in(settings: Mapping[str, str], directory: Path) -> None:
    """Have these settings and no others, here and in what is started from here."""
    for name in [name for name in os.environ if name.startswith("CLAIMBUS_")]:
        del os.environ[name]
    os.environ.update(settings)
    os.chdir(directory)  # away from any claimbus.toml


def _fresh_directory() -> Path:
    """Make a directory for this run, in the checkout or among temporary files; old ones go."""
    state = Path(__file__).parents[3] / ".claimbus"
    parent = state / "demo" if state.is_dir() else Path(tempfile.gettempdir())
    parent.mkdir(exist_ok=True)
    for old in parent.glob(f"{PREFIX}*"):
        if time.time() - old.stat().st_mtime > KEPT and old.stat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{datetime.now(UTC):%m%d-%H%M%S}-", dir=parent))


def _log_to(file: Path) -> None:
    """Keep our own log out of what is shown."""
    with redirect_stderr(file.open("a")):
        configure_logs("warning", "json")


if __name__ == "__main__":
    typer.run(demo)
