"""What commands that send anew have in common: the rate, and the question beforehand."""

import sys
from typing import Annotated

import typer

from claimbus.cli.output import say
from claimbus.cli.settings import Settings
from claimbus.events.errors import InvalidInputError

Rate = Annotated[
    float | None,
    typer.Option(
        min=0, help="Deliveries a second to an endpoint; 0: no limit. Default: CLAIMBUS_REPLAY_RATE."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before anything is sent.")]


def rate_of(rate: float | None, settings: Settings) -> float | None:
    """Return the rate that was typed, or that is set; None: no limit."""
    return (settings.replay_rate if rate is None else rate) or None


def must_be_askable(*, yes: bool) -> None:
    """Raise InvalidInputError when there is nobody to ask, and ``--yes`` was not typed."""
    if not (yes or sys.stdin.isatty()):
        raise InvalidInputError("yes", "nobody can be asked without a terminal: give --yes, or --dry-run")


def ask(question: str) -> None:
    """Ask whether to go on; exit with 1 if not."""
    if not typer.confirm(question, err=True):
        say("nothing was sent")
        raise typer.Exit(1)
