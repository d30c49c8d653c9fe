"""``claimbus doctor``: whether everything is as it must be, and what to do where it is not."""

import asyncio
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from claimbus.cli.diagnosis import diagnose
from claimbus.cli.finding import Finding
from claimbus.cli.options import AsJson
from claimbus.cli.output import print_json
from claimbus.cli.settings import load
from claimbus.events.errors import ConfigurationError

STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Check settings, servers, clock and queues, and say what to do; exits with 1 if there is an error."""
    try:
        found = asyncio.run(diagnose(load()))
    except ConfigurationError as wrong:
        found = [Finding("error", "settings", str(wrong))]
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        console = Console(highlight=False, soft_wrap=True)
        for severity, subject, message in found:
            console.print(Text(f"{severity:8}", STYLES[severity]), Text(f"{subject}: {message}"), sep="")
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)
