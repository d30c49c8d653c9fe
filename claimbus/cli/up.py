"""``./dev up``: a worker and a portal on the services that ``./dev`` found, and how to reach it all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.text import Text

from claimbus.cli.development import STATE, UP, keep
from claimbus.cli.services import private_directory
from claimbus.cli.services.guard import guarded
from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import load, without_password
from claimbus.cli.tryout import CONTACT, HOST, PARTICIPANT, Tryout, authority, open_tryout
from claimbus.events.errors import ClaimbusError

FOR_TRYING_OUT: Final = {
    "CLAIMBUS_WEBHOOK_ALLOW_HTTP": "true",
    "CLAIMBUS_WEBHOOK_NETWORKS": "127.0.0.0/8,::1/128",
    "CLAIMBUS_WEBHOOK_PORTS": "1-65535",
    "CLAIMBUS_MAIL_FROM": "Event bus <bus@iso.example>",
    "CLAIMBUS_MAIL_GATHER": "2s",
}
"""Settings, unless they are set, with which a receiver on this machine can be tried, and mails come soon."""

LOOK_EVERY: Final = 0.2
"""Seconds between two looks whether all still runs."""

ASK_EVERY: Final = 1.0
"""Seconds between two questions to the receiver that somebody may start."""

STEPS: Final = """\
Look at it in a browser, which does not know the portal's authority and asks whether to go on:

    {url}

Log in with one of these tokens, in another browser or a private window with the other

    {uaa}   a UAA, who keeps the endpoints of {participant}
    {operator}   an operator, who sees and mends everything

Receive as a participant, in another terminal but in this directory. docs/examples/on_event.py runs on
each event that comes over a stream

    {subscribe}

or as a webhook

    {receive}

Then let something happen, in a third:

    ./dev claimbus market close DAM --trade-date tomorrow
    ./dev claimbus attempts list

Ctrl-C stops it all. A worker and a portal start now; this is their log:
"""


def up(processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1) -> None:
    """Run the whole system in the foreground, for working with it. Ctrl-C stops it."""
    with private_directory(STATE / "up") as directory:
        issuer = authority(directory)
        metrics, portal = (f"{HOST}:{port}" for port in free_ports(2))
        portal = os.environ.get("CLAIMBUS_PORTAL_LISTEN", portal)
        settings = FOR_TRYING_OUT | {
            "CLAIMBUS_METRICS_LISTEN": metrics,
            "CLAIMBUS_PORTAL_LISTEN": portal,
            "CLAIMBUS_PORTAL_URL": f"https://{portal}",
            "CLAIMBUS_PORTAL_CERTIFICATE_FILE": str(issuer.server("portal", HOST, "localhost")),
            "CLAIMBUS_MAIL_URL": (directory / "mails").as_uri(),
        }
        chosen = {name: value for name, value in settings.items() if name not in os.environ}
        os.environ.update(chosen)
        if UP.exists():
            keep(chosen)
        try:
            tryout = open_tryout(issuer, load().portal_listen, _shown)
            _show(os.environ, tryout, issuer.ca)
        except ClaimbusError as wrong:
            sys.exit(f"./dev up: {wrong}")
        code = _run([["work", "--processes", str(processes)], ["portal"]], tryout)
    sys.exit(code)


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _show(environment: Mapping[str, str], tryout: Tryout, ca: Path) -> None:
    console = Console(highlight=False)
    console.print()
    for what, where in _places(environment, ca):
        line = Text.assemble((f" {what:<10}", "bold"), f"  {where}")
        console.print(line, soft_wrap=True)  # what is to be copied must not be cut into lines
    steps = STEPS.format(
        url=f"https://{load().portal_listen}",
        uaa=tryout.uaa,
        operator=tryout.operator,
        participant=PARTICIPANT,
        subscribe=tryout.subscribe,
        receive=tryout.receive,
    )
    console.print(Text(f"\n{steps}"), soft_wrap=True)


def _places(environment: Mapping[str, str], ca: Path) -> Iterator[tuple[str, str]]:
    settings = load()
    yield "RabbitMQ", without_password(settings.amqp_url)
    management = environment.get("CLAIMBUS_MANAGEMENT_URL")
    if management is not None:
        parts = urlsplit(management)
        yield "  its pages", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} (user {parts.username})"
    yield "Redis", without_password(settings.redis_url)
    yield "database", without_password(settings.database_url)
    yield "portal", f"https://{settings.portal_listen} (/docs has its API; its authority is {_shown(ca)})"
    yield "metrics", f"http://{settings.metrics_listen}/metrics"
    yield "mails", _mails(settings.mail_url)
    yield "settings", f"set -a; . {_shown(UP)}; set +a"


def _mails(url: str) -> str:
    parts = urlsplit(url)
    where = (
        f"files in {_shown(Path(unquote(parts.path)))}" if parts.scheme == "file" else without_password(url)
    )
    return f"{where} (what {CONTACT} is told of its endpoints)"


def _run(commands: list[list[str]], tryout: Tryout) -> int:
    """Run our commands until one of them ends, or all are to; return the first exit code that is not 0."""
    running = [
        subprocess.Popen(guarded([sys.executable, "-m", "claimbus", *words], Path(os.devnull)))  # noqa: S603
        for words in commands
    ]

    def stop(*_: object) -> None:
        for process in running:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    ask_at = time.monotonic()
    while all(process.poll() is None for process in running):
        try:
            if time.monotonic() >= ask_at:
                ask_at = float("inf") if tryout.try_to_verify() else time.monotonic() + ASK_EVERY
            time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:  # the terminal has sent it to them too
            break
    stop()
    return next((code for code in [_ended(process) for process in running] if code), 0)


def _ended(process: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # not so impatient: what is in flight is being finished
            continue


if __name__ == "__main__":
    typer.run(up)
