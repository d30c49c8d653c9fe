"""How fast: what each side does in a second, and how long it takes."""

from typing import Annotated, Final

import typer

from benchmarks import deliver as delivering
from benchmarks import isolation as isolating
from benchmarks import latency as waiting
from benchmarks import letters as keeping
from benchmarks import pages as viewing
from benchmarks import portal as asking
from benchmarks import publish as publishing
from benchmarks.options import (
    AsJson,
    Bodies,
    Endpoints,
    Repeat,
    Seconds,
    Sides,
    Size,
    Window,
    Write,
    read_names,
    read_numbers,
)
from benchmarks.run import telling

PUBLISHING_SIDES: Final = ",".join(publishing.SIDES)
DELIVERING_SIDES: Final = ",".join(delivering.SIDES)
LEAST_UNACKED: Final = 16
UNACKED_IN_ALL: Final = 800
"""Unacknowledged messages: of a queue at least, and of all queues together where there are few."""


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
    names, sizes = read_names(sides, publishing.SIDES), read_numbers(bodies, "sizes in bytes")
    with telling("publish", len(sizes) * len(names) * repeat) as progress:
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
    context.obj.tell(publishing.report(results), as_json=as_json, write=write)


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
    names, numbers = read_names(sides, delivering.SIDES), read_numbers(endpoints, "numbers of endpoints")
    with telling("deliver", len(numbers) * len(names) * repeat) as progress:
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
    context.obj.tell(delivering.report(results), as_json=as_json, write=write)


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
    with telling("latency", 2 + 2 * len(waiting.SHARES)) as progress:
        found = waiting.latency(
            size=size, endpoints=endpoints, seconds=seconds, parts=parts, progress=progress
        )
    context.obj.tell(found, as_json=as_json, write=write)


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
    with telling("isolation", (1 + len(isolating.TROUBLES)) * repeat) as progress:
        found = isolating.isolation(
            size=size,
            endpoints=endpoints,
            troubled=troubled,
            rate=rate,
            seconds=seconds,
            repeat=repeat,
            progress=progress,
        )
    context.obj.tell(found, as_json=as_json, write=write)


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
    with telling("portal", 4 * repeat + 1) as progress:
        results = asking.portal(size=size, count=count, window=window, repeat=repeat, progress=progress)
    context.obj.tell(asking.report(results), as_json=as_json, write=write)


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
    with telling("letters", len(keeping.STEPS)) as progress:
        kept = keeping.keep(letters=count, size=size, endpoints=endpoints, window=window, progress=progress)
    context.obj.tell(kept.report(), as_json=as_json, write=write)


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
    names = read_names(databases, viewing.DATABASES)
    seed = viewing.Seed(participants=participants, endpoints=endpoints, attempts=attempts, letters=letters)
    with telling("pages", 2 * len(names)) as progress:
        found = viewing.pages(seed=seed, repeat=repeat, databases=names, progress=progress)
    context.obj.tell(found, as_json=as_json, write=write)
