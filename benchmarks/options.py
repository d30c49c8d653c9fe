"""Options that several benchmarks have, each spelled once."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as the last line, too.")]
Write = Annotated[
    Path | None,
    typer.Option(help="Write figures/NAME.csv and pictures/bench-NAME.svg here, and renew performance.md."),
]
Repeat = Annotated[int, typer.Option(min=1, help="Rounds; each runs every side once.")]
Bodies = Annotated[str, typer.Option(help="Sizes of bodies in bytes, with commas.")]
Sides = Annotated[str, typer.Option(help="Only these sides, with commas.")]
Window = Annotated[int, typer.Option(min=1, help="Unconfirmed events that a publisher may have in flight.")]
Endpoints = Annotated[int, typer.Option(min=1, help="Endpoints, each with its queue.")]
Size = Annotated[int, typer.Option(min=1, help="Bytes of a body.")]
Seconds = Annotated[float, typer.Option(help="How long each pace is kept up.")]


def read_numbers(wanted: str, what: str) -> list[int]:
    """Read numbers with commas; ``what`` they are is told when they are none."""
    try:
        return [int(number) for number in wanted.split(",")]
    except ValueError as wrong:
        raise typer.BadParameter(f"{wanted!r} are no {what}, with commas") from wrong


def read_names(wanted: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read names with commas, each of them ``known``."""
    chosen = tuple(wanted.split(","))
    if unknown := set(chosen) - set(known):
        raise typer.BadParameter(f"no such side: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen
