"""``./dev up``: a worker on the services that ``./dev`` found, and how to reach it all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claimbus.cli.development import UP
from claimbus.cli.services.guard import guarded
from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import load, without_password
from claimbus.events.errors import ConfigurationError

FOR_TRYING_OUT: Final = {
    "CLAIMBUS_WEBHOOK_ALLOW_HTTP": "true",
    "CLAIMBUS_WEBHOOK_NETWORKS": "127.0.0.0/8,::1/128",
    "CLAIMBUS_WEBHOOK_PORTS": "1-65535",
}
"""Settings, unless they are set, with which a receiver on this machine can be tried."""

METRICS: Final = "CLAIMBUS_METRICS_LISTEN"

FIRST_STEPS: Final = """\
./dev claimbus participants add PGAE --organisation "Pacific Example"
./dev claimbus endpoints add PGAE --name first \\
    --url http://127.0.0.1:8099/in --subscribe 'market.#'
./dev claimbus market close DAM --trade-date tomorrow
./dev claimbus attempts list
./dev claimbus doctor"""


def up(processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1) -> None:
    """Run the whole system in the foreground, for working with it. Ctrl-C stops it."""
    chosen = {name: value for name, value in FOR_TRYING_OUT.items() if name not in os.environ}
    os.environ.update(chosen)
    if UP.exists():
        with UP.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in chosen.items())
    os.environ.setdefault(METRICS, f"127.0.0.1:{free_ports(1)[0]}")
    try:
        _show(Console(), os.environ)
    except ConfigurationError as wrong:
        sys.exit(f"./dev up: {wrong}")
    sys.exit(_work(processes))


def _show(console: Console, environment: Mapping[str, str]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for what, where in _places(environment):
        grid.add_row(what, where)
    console.print(Padding(grid, (1, 1)))
    console.print(Text(" In another terminal, for example:", "bold"))
    console.print(Padding(Text(FIRST_STEPS), (0, 3)), highlight=False)
    console.print(Padding("Ctrl-C stops it all. A worker starts now; this is its log:", (1, 1)))


def _places(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    settings = load()
    yield "RabbitMQ", without_password(settings.amqp_url)
    management = environment.get("CLAIMBUS_MANAGEMENT_URL")
    if management is not None:
        parts = urlsplit(management)
        yield "  its pages", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} (user {parts.username})"
    yield "Redis", without_password(settings.redis_url)
    yield "database", without_password(settings.database_url)
    yield "metrics", f"http://{settings.metrics_listen}/metrics"
    yield "settings", f"set -a; . {Path(os.path.relpath(UP))}; set +a"


def _work(processes: int) -> int:
    """Run the workers until they end, or are to; return their exit code."""
    command = [sys.executable, "-m", "claimbus", "work", "--processes", str(processes)]
    worker = subprocess.Popen(guarded(command, Path(os.devnull)))  # noqa: S603 - our own command
    signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
    while True:
        try:
            return worker.wait()
        except KeyboardInterrupt:  # the terminal has sent it to the workers too
            continue


if __name__ == "__main__":
    typer.run(up)
