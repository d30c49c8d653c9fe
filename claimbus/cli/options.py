"""Options that several commands have, each spelled once."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from claimbus.cli.durations import parse_duration
from claimbus.cli.moments import parse_day, parse_moment
from claimbus.cli.settings import load
from claimbus.events.event import format_time


def moment(text: str) -> datetime:
    """Read a moment, local to the feed's time zone unless it has an offset."""
    with _usage():
        return parse_moment(text, now=datetime.now(UTC), zone=_zone())


def past(text: str) -> datetime:
    """Read a moment that is not in the future."""
    found = moment(text)
    if found > datetime.now(UTC):
        raise typer.BadParameter(f"{text!r} is in the future: {format_time(found.replace(microsecond=0))}")
    return found


def day(text: str) -> date:
    """Read a day in the feed's time zone."""
    with _usage():
        return parse_day(text, now=datetime.now(UTC), zone=_zone())


def duration(text: str) -> timedelta:
    """Read a duration."""
    with _usage():
        return parse_duration(text)


def group(help_: str) -> typer.Typer:
    """Return a group of subcommands."""
    return typer.Typer(help=help_, no_args_is_help=True, add_completion=False)


def user() -> str:
    """Return the name of the operating system's user, or its number where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


@contextmanager
def _usage() -> Iterator[None]:
    try:
        yield
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong


def _zone() -> ZoneInfo:
    return ZoneInfo(load().feed_timezone)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
Actor = Annotated[
    str, typer.Option(default_factory=user, show_default="you", help="Who does this, for the audit.")
]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]
To = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="A participant who may see it; repeat it. Default: all."),
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=past, metavar="TIME", help="Not before: 2h (ago), yesterday 14:00, or ISO 8601."),
]
Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Before this time, written alike.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many at most, the newest.")]
InOutbox = Annotated[
    Path | None,
    typer.Option(
        "--outbox", metavar="FILE", help="Keep it in this file; 'claimbus outbox relay' publishes it."
    ),
]
