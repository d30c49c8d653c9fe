"""How far: memory, growth, bytes, and what durability costs."""

from typing import Annotated, Final

import typer

from benchmarks import durability as durable
from benchmarks import fan as fanning
from benchmarks import growth as growing
from benchmarks import large as enlarging
from benchmarks import pages as viewing
from benchmarks import reconcile as accounting
from benchmarks import sizes as weighing
from benchmarks.options import (
    AsJson,
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

LARGE_SIDES: Final = ",".join(enlarging.SIDES)


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
    sizes = [number * enlarging.MIB for number in read_numbers(mebibytes, "sizes in MiB")]
    names = read_names(sides, enlarging.SIDES)
    with telling("large", len(sizes) * len(names)) as progress:
        found = enlarging.large(
            sizes=sizes, endpoints=endpoints, prefetch=prefetch, sides=names, progress=progress
        )
    context.obj.tell(found, as_json=as_json, write=write)


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
    numbers = read_numbers(counts, "numbers") + ([1_000_000] if long else [])
    people = read_numbers(participants, "numbers of participants")
    with telling("growth", len(people) + len(growing.FILLED) * len(numbers)) as progress:
        found = growing.growth(
            participants=people,
            counts=dict.fromkeys(growing.FILLED, numbers),
            seconds=seconds,
            progress=progress,
        )
    context.obj.tell(found, as_json=as_json, write=write)


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
    with telling("durability", 3 + 3 * 2 * repeat) as progress:
        found = durable.durability(
            size=size, events=events, rows=rows, window=window, repeat=repeat, progress=progress
        )
    context.obj.tell(found, as_json=as_json, write=write)


def fan(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    queues: Annotated[str, typer.Option(help="Numbers of queues, with commas.")] = "1,10,100,200,500,1000",
    seconds: Seconds = 3.0,
) -> None:
    """One event to many queues, RabbitMQ alone, and where a queue and the journal end."""
    numbers = read_numbers(queues, "numbers of queues")
    with telling("fan", 1) as progress:
        found = fanning.fan(queues=numbers, seconds=seconds, progress=progress)
    context.obj.tell(found, as_json=as_json, write=write)


def sizes(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    count: Annotated[int, typer.Option(min=1, help="So many of each.")] = 100_000,
) -> None:
    """Bytes of memory and disk that one more claim, ticket, attempt or letter takes."""
    rows = len(weighing.THINGS) + len(viewing.DATABASES) * len(weighing.ROWS)
    with telling("sizes", rows) as progress:
        found = weighing.sizes(count=count, progress=progress)
    context.obj.tell(found, as_json=as_json, write=write)


def reconcile(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    write: Write = None,
    deliveries: Annotated[int, typer.Option(min=1, help="Deliveries to account for.")] = 100_000,
    endpoints: Annotated[str, typer.Option(help="Endpoints of each event, with commas.")] = "1,20",
    window: Window = 256,
) -> None:
    """Time and CPU of an account of the journal, where everything was delivered."""
    numbers = read_numbers(endpoints, "numbers of endpoints")
    with telling("reconcile", len(numbers)) as progress:
        found = accounting.reconcile(
            deliveries=deliveries, endpoints=numbers, window=window, progress=progress
        )
    context.obj.tell(found, as_json=as_json, write=write)
