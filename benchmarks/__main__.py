"""The command line: ``python -m benchmarks publish | deliver | large | letters | portal``."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import deliver as delivering
from benchmarks import large as measuring_large
from benchmarks import letters as keeping
from benchmarks import portal as asking
from benchmarks import publish as publishing
from benchmarks import report, servers
from benchmarks.report import Result
from benchmarks.runner import Progress as Told
from benchmarks.servers import BenchmarkError

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as the last line, too.")]
Repeat = Annotated[int, typer.Option(min=1, help="Rounds; each runs every side once.")]
Bodies = Annotated[str, typer.Option(help="Sizes of bodies in bytes, with commas.")]
Sides = Annotated[str, typer.Option(help="Only these sides, with commas.")]
Window = Annotated[int, typer.Option(min=1, help="Unconfirmed events that a publisher may have in flight.")]
Endpoints = Annotated[int, typer.Option(min=1, help="Endpoints, each with its queue.")]
Prefetch = Annotated[int, typer.Option(min=1, help="Unacknowledged messages of a queue.")]
EventsToEach = Annotated[int, typer.Option(min=1, help="Events to each endpoint, in a round.")]

PUBLISHING_SIDES: Final = ",".join(publishing.SIDES)
DELIVERING_SIDES: Final = ",".join(delivering.SIDES)


@app.command()
def publish(
    *,
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(help="How long a side publishes in a round.")] = 3.0,
    events: Annotated[int | None, typer.Option(min=1, help="Events at most, in a round.")] = None,
    bodies: Bodies = "2048,102400",
    repeat: Repeat = 5,
    window: Window = 256,
    sides: Sides = PUBLISHING_SIDES,
) -> None:
    """Events a second through check-in and confirmed publish, one producer process."""
    measure = partial(publishing.publish, seconds=seconds, events=events, window=window)
    results = _compare(measure, bodies, _sides(sides, publishing.SIDES), repeat)
    _print(results, as_json=as_json)


@app.command()
def deliver(
    *,
    as_json: AsJson = False,
    events: EventsToEach = 400,
    endpoints: Endpoints = 50,
    prefetch: Prefetch = 16,
    bodies: Bodies = "2048",
    repeat: Repeat = 5,
    window: Window = 256,
    tls: Annotated[bool, typer.Option("--tls", help="Deliver over TLS.")] = False,
    sides: Sides = DELIVERING_SIDES,
) -> None:
    """Deliveries a second of one worker process to endpoints on a local sink."""
    measure = partial(
        delivering.deliver, events=events, endpoints=endpoints, prefetch=prefetch, window=window, tls=tls
    )
    results = _compare(measure, bodies, _sides(sides, delivering.SIDES), repeat)
    _print(results, as_json=as_json)


@app.command()
def letters(
    *,
    as_json: AsJson = False,
    count: Annotated[int, typer.Option("--letters", min=1, help="Dead letters.")] = 100_000,
    endpoints: Endpoints = 20,
    size: Annotated[int, typer.Option(min=1, help="Bytes of a body.")] = 2048,
    window: Window = 256,
) -> None:
    """Dead letters a second: recorded with their bodies, replayed beside a plain publish; lists of groups."""
    with _progress(len(keeping.STEPS)) as progress:
        kept = keeping.keep(letters=count, size=size, endpoints=endpoints, window=window, progress=progress)
    Console().print(kept.table())
    if as_json:
        print(json.dumps(kept.document() | _place()))


@app.command()
def portal(
    *,
    as_json: AsJson = False,
    count: Annotated[int, typer.Option(min=1, help="Bodies, and frames, in a round.")] = 10_000,
    size: Annotated[int, typer.Option(min=1, help="Bytes of a body.")] = 2048,
    window: Annotated[int, typer.Option(min=1, max=256, help="So many at a time.")] = 64,
    repeat: Repeat = 5,
) -> None:
    """Claims and stream frames a second of one portal process, beside a bare route and a bare WebSocket."""
    with _progress(4 * repeat + 1) as progress:
        results = asking.portal(size=size, count=count, window=window, repeat=repeat, progress=progress)
    for result in results:
        _print([result], as_json=as_json)


@app.command()
def large(
    *,
    as_json: AsJson = False,
    events: EventsToEach = 8,
    endpoints: Endpoints = 2,
    prefetch: Prefetch = 64,
    size: Annotated[int, typer.Option(min=1, help="Bytes of a body.")] = 16 << 20,
) -> None:
    """How much memory large bodies take in producer and worker."""
    with _progress(2) as progress:
        growth = measuring_large.large(
            size=size, events=events, endpoints=endpoints, prefetch=prefetch, progress=progress
        )
    console = Console()
    console.print(growth.table())
    if as_json:
        print(json.dumps(growth.document() | _place()))


def _compare(
    measure: Callable[..., Result], bodies: str, sides: tuple[str, ...], repeat: int
) -> list[Result]:
    """Measure the sides with each size of body."""
    sizes = _sizes(bodies)
    with _progress(len(sizes) * len(sides) * repeat) as progress:
        return [measure(size=size, sides=sides, repeat=repeat, progress=progress) for size in sizes]


def _sizes(wanted: str) -> list[int]:
    try:
        return [int(size) for size in wanted.split(",")]
    except ValueError as wrong:
        raise typer.BadParameter(f"{wanted!r} are no sizes in bytes, with commas") from wrong


def _sides(wanted: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(wanted.split(","))
    if unknown := set(names) - set(known):
        raise typer.BadParameter(f"no such side: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


@contextmanager
def _progress(rounds: int) -> Iterator[Told]:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
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
    console.print("; ".join(f"{name}: {value}" for name, value in _place().items()), highlight=False)
    if as_json:
        first, *others = (result.document() for result in results)
        print(json.dumps({"name": results[0].name, **first, "other_bodies": others, **_place()}))


def _place() -> dict[str, str | int]:
    return report.machine() | servers.versions()


def main() -> None:
    """Run a benchmark; exit 1 with one message when it cannot be run, or its figures would be void."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that sides end and rooms are cleared away
    try:
        app()
    except BenchmarkError as reason:
        sys.exit(f"benchmarks: {reason}")


if __name__ == "__main__":
    main()
