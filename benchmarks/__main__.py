"""How fast, how far: every benchmark one after another, or those that are named, each with its options.

``python -m benchmarks [--write DIR] [--json] [publish | deliver | … [OPTIONS]]…``
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

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
from benchmarks import durability as durable
from benchmarks import growth as growing
from benchmarks import isolation as isolating
from benchmarks import large as enlarging
from benchmarks import latency as waiting
from benchmarks import letters as keeping
from benchmarks import pages as viewing
from benchmarks import portal as asking
from benchmarks import publish as publishing
from benchmarks import report, servers, writing
from benchmarks.report import Report
from benchmarks.runner import Progress as Told
from benchmarks.servers import BenchmarkError

app = typer.Typer(
    help=__doc__,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@dataclass(slots=True)
class Run:
    """What one call of the command was asked to do with its reports, and those that there are."""

    as_json: bool = False
    write: Path | None = None
    reports: list[Report] = field(default_factory=list)


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

PUBLISHING_SIDES: Final = ",".join(publishing.SIDES)
DELIVERING_SIDES: Final = ",".join(delivering.SIDES)
LARGE_SIDES: Final = ",".join(enlarging.SIDES)
WIDTH: Final = 150
"""Characters of a line where no terminal says how many it has."""

LEAST_UNACKED: Final = 16
UNACKED_IN_ALL: Final = 800
"""Unacknowledged messages: of a queue at least, and of all queues together where there are few."""


@app.callback()
def begin(context: typer.Context, *, as_json: AsJson = False, write: Write = None) -> None:
    """Run all of them when none is named."""
    run: Run = context.obj
    run.as_json |= as_json
    run.write = write or run.write
    if context.invoked_subcommand is None:
        for command in COMMANDS:
            command(context)


@app.command()
def publish(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    seconds: Annotated[float, typer.Option(help="How long a side publishes in a round.")] = 3.0,
    events: Annotated[int | None, typer.Option(min=1, help="Events at most, in a round.")] = None,
    bodies: Bodies = "2048,102400",
    repeat: Repeat = 3,
    window: Window = 256,
    sides: Sides = PUBLISHING_SIDES,
) -> None:
    """Events a second through check-in and confirmed publish, one producer process."""
    names, sizes = _sides(sides, publishing.SIDES), _numbers(bodies, "sizes in bytes")
    with _progress("publish", len(sizes) * len(names) * repeat) as progress:
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
    _print(context, publishing.report(results), as_json=as_json, write=write)


@app.command()
def deliver(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    endpoints: Annotated[str, typer.Option(help="Numbers of endpoints, with commas.")] = "1,10,100,500",
    events: Annotated[int | None, typer.Option(min=1, help="Events to each endpoint, in a round.")] = None,
    prefetch: Annotated[int | None, typer.Option(min=1, help="Unacknowledged messages of a queue.")] = None,
    size: Size = 2048,
    repeat: Repeat = 3,
    window: Window = 256,
    tls: Annotated[bool, typer.Option("--tls", help="Deliver over TLS.")] = False,
    sides: Sides = DELIVERING_SIDES,
) -> None:
    """Deliveries a second of one worker process to endpoints on a local sink."""
    names, numbers = _sides(sides, delivering.SIDES), _numbers(endpoints, "numbers of endpoints")
    with _progress("deliver", len(numbers) * len(names) * repeat) as progress:
        results = {
            number: delivering.deliver(
                size=size,
                events=events or max(1, delivering.DELIVERIES // number),
                endpoints=number,
                prefetch=prefetch or max(LEAST_UNACKED, UNACKED_IN_ALL // number),
                window=window,
                tls=tls,
                repeat=repeat,
                sides=names,
                progress=progress,
            )
            for number in numbers
        }
    _print(context, delivering.report(results), as_json=as_json, write=write)


@app.command()
def latency(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    size: Size = 2048,
    endpoints: Endpoints = 20,
    seconds: Seconds = 10.0,
    parts: Annotated[int, typer.Option(min=1, help="Times that the bare parts are done.")] = 1000,
) -> None:
    """Latency from publish to receiver at a tenth, half and 80 % of the capacity, beside its bare parts."""
    with _progress("latency", 2 + 2 * len(waiting.SHARES)) as progress:
        found = waiting.latency(
            size=size, endpoints=endpoints, seconds=seconds, parts=parts, progress=progress
        )
    _print(context, found, as_json=as_json, write=write)


@app.command()
def isolation(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    size: Size = 2048,
    endpoints: Endpoints = 100,
    troubled: Annotated[int, typer.Option(min=1, help="Endpoints that are dead, slow or failing.")] = 10,
    rate: Annotated[float, typer.Option(help="Events a second, each to one endpoint.")] = 500.0,
    seconds: Seconds = 6.0,
    repeat: Repeat = 3,
) -> None:
    """Latency of the healthy endpoints beside others that are dead, slow or answering 500."""
    with _progress("isolation", (1 + len(isolating.TROUBLES)) * repeat) as progress:
        found = isolating.isolation(
            size=size,
            endpoints=endpoints,
            troubled=troubled,
            rate=rate,
            seconds=seconds,
            repeat=repeat,
            progress=progress,
        )
    _print(context, found, as_json=as_json, write=write)


@app.command()
def large(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    mebibytes: Annotated[str, typer.Option(help="Sizes of bodies in MiB, with commas.")] = "1,4,16,64",
    endpoints: Endpoints = 2,
    prefetch: Annotated[int, typer.Option(min=1, help="Unacknowledged messages of a queue.")] = 8,
    sides: Sides = LARGE_SIDES,
) -> None:
    """How much memory large bodies take in producer, worker and servers, beside the body on the message."""
    sizes = [number * enlarging.MIB for number in _numbers(mebibytes, "sizes in MiB")]
    names = _sides(sides, enlarging.SIDES)
    with _progress("large", len(sizes) * len(names)) as progress:
        found = enlarging.large(
            sizes=sizes, endpoints=endpoints, prefetch=prefetch, sides=names, progress=progress
        )
    _print(context, found, as_json=as_json, write=write)


@app.command()
def growth(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    participants: Annotated[str, typer.Option(help="Numbers of participants, with commas.")] = "10,100,1000",
    counts: Annotated[
        str, typer.Option(help="Numbers of tickets, of claims and of records of attempts, with commas.")
    ] = "0,10000,100000",
    long: Annotated[bool, typer.Option("--long", help="A million of each, too: half an hour.")] = False,
    seconds: Seconds = 3.0,
) -> None:
    """Time and memory against participants, backlog, claims and retention."""
    numbers = _numbers(counts, "numbers") + ([1_000_000] if long else [])
    people = _numbers(participants, "numbers of participants")
    with _progress("growth", len(people) + len(growing.FILLED) * len(numbers)) as progress:
        found = growing.growth(
            participants=people,
            counts=dict.fromkeys(growing.FILLED, numbers),
            seconds=seconds,
            progress=progress,
        )
    _print(context, found, as_json=as_json, write=write)


@app.command()
def durability(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    size: Size = 2048,
    events: Annotated[int, typer.Option(min=1, help="Events of a round.")] = 20_000,
    rows: Annotated[int, typer.Option(min=1, help="Attempts recorded in a round.")] = 50_000,
    window: Window = 256,
    repeat: Repeat = 3,
) -> None:
    """Price of durability: Redis's fsync, two RabbitMQs, SQLite and PostgreSQL."""
    with _progress("durability", 3 + 3 * 2 * repeat) as progress:
        found = durable.durability(
            size=size, events=events, rows=rows, window=window, repeat=repeat, progress=progress
        )
    _print(context, found, as_json=as_json, write=write)


@app.command()
def portal(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    count: Annotated[int, typer.Option(min=1, help="Bodies, and frames, in a round.")] = 10_000,
    size: Size = 2048,
    window: Annotated[int, typer.Option(min=1, max=256, help="So many at a time.")] = 64,
    repeat: Repeat = 3,
) -> None:
    """Claims and stream frames a second of one portal process, beside a bare route and a bare WebSocket."""
    with _progress("portal", 4 * repeat + 1) as progress:
        results = asking.portal(size=size, count=count, window=window, repeat=repeat, progress=progress)
    _print(context, asking.report(results), as_json=as_json, write=write)


@app.command()
def letters(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    count: Annotated[int, typer.Option("--letters", min=1, help="Dead letters.")] = 100_000,
    endpoints: Endpoints = 20,
    size: Size = 2048,
    window: Window = 256,
) -> None:
    """Dead letters a second: recorded with their bodies, replayed beside a plain publish; lists of groups."""
    with _progress("letters", len(keeping.STEPS)) as progress:
        kept = keeping.keep(letters=count, size=size, endpoints=endpoints, window=window, progress=progress)
    _print(context, kept.report(), as_json=as_json, write=write)


@app.command()
def pages(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    participants: Annotated[int, typer.Option(min=1, help="Participants.")] = 500,
    endpoints: Endpoints = 2_000,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts, all of the last day.")] = 1_000_000,
    letters: Annotated[int, typer.Option("--letters", min=1, help="Dead letters.")] = 100_000,
    repeat: Annotated[int, typer.Option(min=2, help="How often each page is asked for.")] = 20,
    databases: Annotated[str, typer.Option(help="Only these, with commas.")] = ",".join(viewing.DATABASES),
) -> None:
    """Each page's server time with a full database, on SQLite and PostgreSQL."""
    names = _sides(databases, viewing.DATABASES)
    seed = viewing.Seed(participants=participants, endpoints=endpoints, attempts=attempts, letters=letters)
    with _progress("pages", 2 * len(names)) as progress:
        found = viewing.pages(seed=seed, repeat=repeat, databases=names, progress=progress)
    _print(context, found, as_json=as_json, write=write)


COMMANDS: Final[tuple[Callable[[typer.Context], None], ...]] = (
    publish,
    deliver,
    latency,
    isolation,
    large,
    growth,
    durability,
    portal,
    letters,
    pages,
)
"""All of them, in the order in which they run when none is named."""


def _numbers(wanted: str, what: str) -> list[int]:
    try:
        return [int(number) for number in wanted.split(",")]
    except ValueError as wrong:
        raise typer.BadParameter(f"{wanted!r} are no {what}, with commas") from wrong


def _sides(wanted: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(wanted.split(","))
    if unknown := set(names) - set(known):
        raise typer.BadParameter(f"no such side: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


@contextmanager
def _progress(name: str, steps: int) -> Iterator[Told]:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=steps, completed=-1)

        def told(what: str) -> None:
            bar.update(task, advance=1, description=f"{name}: {what}")

        yield told


def _print(context: typer.Context, found: Report, *, as_json: bool, write: Path | None) -> None:
    """Print a report, and write it where that was asked for."""
    run: Run = context.obj
    run.as_json |= as_json
    run.reports.append(found)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for sheet in found.all_sheets():
        console.print(sheet.table(), highlight=False)
    for note in found.notes:
        console.print(note, highlight=False)
    console.print("; ".join(f"{name}: {value}" for name, value in _place().items()) + "\n", highlight=False)
    if folder := write or run.write:
        writing.write(found, folder, _place())


def _place() -> dict[str, Any]:
    return report.machine() | servers.versions()


def main() -> None:
    """Run benchmarks; exit 1 with one message when one cannot be run, or its figures would be void."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that sides end and rooms are cleared away
    run = Run()
    try:
        for words in _commands(sys.argv[1:]):
            _one(words, run)
    except BenchmarkError as reason:
        sys.exit(f"benchmarks: {reason}")
    if run.as_json and run.reports:
        documents = [one.json() | _place() for one in run.reports]
        print(json.dumps(documents[0] if len(documents) == 1 else {"name": "all", "benchmarks": documents}))


def _commands(words: list[str]) -> list[list[str]]:
    """Split the command line before each benchmark's name; what stands before the first goes for all."""
    names = {command.__name__ for command in COMMANDS}
    starts = [number for number, word in enumerate(words) if word in names]
    if not starts:
        return [words]
    return [
        words[: starts[0]] + words[start:stop]
        for start, stop in zip(starts, [*starts[1:], None], strict=True)
    ]


def _one(words: list[str], run: Run) -> None:
    try:
        app(words, obj=run)
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
