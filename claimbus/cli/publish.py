"""``claimbus publish``: one event, from a file or standard input."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from claimbus.cli.options import AsJson, InOutbox, To, moment
from claimbus.cli.output import print_json
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, open_producer
from claimbus.events.bodies import is_json
from claimbus.events.catalogue import admit
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Audience, Event, audience_of, new_id
from producers.outbox import Outbox
from producers.producer import Producer, Receipt

STREAMED: Final = 1 << 20
"""Bytes above which a body is streamed: one that need not be looked into."""

PIECE: Final = 256 << 10


def publish(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Of the catalogue: market.dam.closed")],
    *,
    body: Annotated[str, typer.Option(metavar="FILE|-", help="The body's file, or - for standard input.")],
    to: To = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="A second publish of one ID is recognised. Default: a new one.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Which system it is from. Default: by the type.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it is about, such as a resource's ID.")] = None,
    content_type: Annotated[str, typer.Option(help="The body's.")] = "application/json",
    time: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="When it happened: 5m (ago), 14:00, ISO 8601."),
    ] = None,
    outbox: InOutbox = None,
    as_json: AsJson = False,
) -> None:
    """Publish one event, from a file or standard input.

    A JSON body is checked against its type's schema. Any other is taken as it is; if it is large it is
    streamed, unless an ID is given.
    """
    settings = load()
    event = Event(
        type=type_,
        source=source or settings.source(type_.partition(".")[0]),
        id=id_ or new_id(),
        time=time or datetime.now(UTC),
        body=b"",
        audience=audience(to),
        datacontenttype=content_type,
        subject=subject,
    )
    with _opened(body) as file:
        whole = id_ is not None or outbox is not None or is_json(content_type)
        head = file.read(settings.max_body + 1 if whole else STREAMED + 1)
        if whole or len(head) <= STREAMED:
            send(settings, replace(event, body=head), fresh=id_ is None, outbox=outbox, as_json=as_json)
        else:
            show(event, asyncio.run(_stream(settings, event, head, file)), as_json=as_json)


def audience(to: list[str] | None) -> Audience:
    """Return the audience that ``--to`` names; everybody without it."""
    return audience_of(to) if to else ALL


def send(settings: Settings, event: Event, *, fresh: bool, outbox: Path | None, as_json: bool) -> None:
    """Publish an event, or put it into an outbox, and print what became of it."""
    event = admit(event)  # before anything is opened, so that its own faults are told first
    if outbox is None:
        show(event, asyncio.run(_publish(settings, event, fresh=fresh)), as_json=as_json)
        return
    with Outbox(outbox) as kept:
        kept.put(event)
    show(event, None, as_json=as_json)


def show(event: Event, receipt: Receipt | None, *, as_json: bool) -> None:
    """Print an event's identity and what became of it; without a receipt it is in an outbox."""
    state = "kept" if receipt is None else "published" if receipt.published else "known"
    if as_json:
        facts = {"message_id": event.identity, "id": event.id, "source": event.source, "type": event.type}
        print_json(facts | {"state": state})
        return
    words = {"published": "published", "known": "was published before", "kept": "kept in the outbox"}
    print(f"{words[state]}: {event.type} {event.identity}")


async def _publish(settings: Settings, event: Event, *, fresh: bool) -> Receipt:
    async with _producer_for(event, settings) as producer:
        return await producer.publish(event, fresh=fresh)


async def _stream(settings: Settings, event: Event, head: bytes, rest: BinaryIO) -> Receipt:
    async def pieces() -> AsyncIterator[bytes]:
        yield head
        while piece := await asyncio.to_thread(rest.read, PIECE):
            yield piece

    async with _producer_for(event, settings) as producer:
        return await producer.publish_stream(event, pieces())


def _producer_for(event: Event, settings: Settings) -> AbstractAsyncContextManager[Producer]:
    """Open a producer; what is for all needs no database."""
    return open_producer(settings, check_audience=event.audience != ALL, within=COMMAND_WITHIN)


def _opened(name: str) -> "nullcontext[BinaryIO] | BinaryIO":
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as unreadable:
        raise InvalidEventError("body", f"{name}: {unreadable.strerror}") from unreadable
