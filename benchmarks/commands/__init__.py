"""The benchmarks as commands: their options, and what runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import typer

from benchmarks.commands import capacity, speed
from benchmarks.options import AsJson, Write

if TYPE_CHECKING:
    from benchmarks.run import Run

COMMANDS: Final[tuple[Callable[[typer.Context], None], ...]] = (
    speed.publish,
    speed.deliver,
    speed.latency,
    speed.isolation,
    capacity.large,
    capacity.growth,
    capacity.durability,
    speed.portal,
    speed.letters,
    speed.pages,
    capacity.fan,
    capacity.sizes,
    capacity.reconcile,
)
"""All of them, in the order in which they run when none is named."""

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False, add_completion=False)
for _command in COMMANDS:
    app.command()(_command)


@app.callback()
def begin(context: typer.Context, *, as_json: AsJson = False, write: Write = None) -> None:
    """How fast, how far: all benchmarks, or those that are named, each with its options."""
    run: Run = context.obj
    run.as_json |= as_json
    run.write = write or run.write
    if context.invoked_subcommand is None:
        for command in COMMANDS:
            command(context)
