"""The command line: ``python -m benchmarks publish | deliver | large``."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import deliver as delivering
from benchmarks import publish as publishing
from benchmarks import report, servers
from benchmarks.report import Result
from benchmarks.runner import Progress as Told
from benchmarks.servers import BenchmarkError

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print the ratios and everything else as the last line.")]
Repeat = Annotated[int, typer.Option(min=1, help="Rounds; each runs every side once.")]
Bodies = Annotated[str, typer.Option(help="Sizes of bodies in bytes, with commas.")]
Sides = Annotated[str, typer.Option(help="Only these sides, with commas.")]
Window = Annotated[int, typer.Option(min=1, help="Unconfirmed events that a publisher may have in flight.")]


@app.command()
def publish(
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(help="How long a side publishes in a round.")] = 3.0,
    events: Annotated[int | None, typer.Option(min=1, help="Events at most, in a round.")] = None,
    bodies: Bodies = "2048,102400",
    repeat: Repeat = 5,
    window: Window = 256,
    sides: Sides = ",".join(publishing.SIDES),
) -> None:
    """Events a second through check-in and confirmed publish, one producer process."""
    sizes, names = [int(size) for size in bodies.split(",")], _sides(sides, publishing.SIDES)
    with _progress(len(sizes) * len(names) * repeat) as progress:
        results = [
            publishing.publish(
                size=size,
                seconds=seconds,
                events=events,
                window=window,
                repeat=repeat,
                sides=names,
                progress=progress,
            )
            for size in sizes
        ]
    _print(results, as_json=as_json)


@app.command()
def deliver(
    as_json: AsJson = False,
    events: Annotated[int, typer.Option(min=1, help="Events to each endpoint, in a round.")] = 400,
    endpoints: Annotated[int, typer.Option(min=1, help="Endpoints, each with its queue.")] = 50,
    prefetch: Annotated[int, typer.Option(min=1, help="Unacknowledged messages of a queue.")] = 8,
    bodies: Bodies = "2048",
    repeat: Repeat = 5,
    window: Window = 256,
    tls: Annotated[bool, typer.Option("--tls", help="Deliver over TLS.")] = False,
    sides: Sides = ",".join(delivering.SIDES),
) -> None:
    """Deliveries a second of one worker process to endpoints on a local sink."""
    sizes, names = [int(size) for size in bodies.split(",")], _sides(sides, delivering.SIDES)
    with _progress(len(sizes) * len(names) * repeat) as progress:
        results = [
            delivering.deliver(
                size=size,
                events=events,
                endpoints=endpoints,
                prefetch=prefetch,
                window=window,
                tls=tls,
                repeat=repeat,
                sides=names,
                progress=progress,
            )
            for size in sizes
        ]
    _print(results, as_json=as_json)


def _sides(wanted: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(wanted.split(","))
    if unknown := set(names) - set(known):
        raise typer.BadParameter(f"no such side: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


@contextmanager
def _progress(rounds: int) -> Iterator[Told]:
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=rounds, completed=-1)

        def told(what: str) -> None:
            bar.update(task, advance=1, description=what)

        yield told


def _print(results: list[Result], *, as_json: bool) -> None:
    console = Console()
    for result in results:
        console.print(result.table(), *result.settings(), sep="\n", highlight=False)
        console.print(", ".join(f"{name} {ratio}" for name, ratio in result.ratios().items()) + "\n")
    place = report.machine() | servers.versions()
    console.print("; ".join(f"{name}: {value}" for name, value in place.items()), highlight=False)
    if as_json:
        first, *others = (result.document() for result in results)
        document: dict[str, Any] = {"name": results[0].name, **first, "other_bodies": others, **place}
        print(json.dumps(document))


def main() -> None:
    """Run a benchmark; exit 1 with one message when it cannot be run, or its figures would be void."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that sides end and rooms are cleared away
    try:
        app()
    except BenchmarkError as reason:
        sys.exit(f"benchmarks: {reason}")


if __name__ == "__main__":
    main()
