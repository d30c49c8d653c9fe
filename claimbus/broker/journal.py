"""Reading the journal: every ticket that was published, from a moment on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from claimbus.broker import codec, errors, frames, topology
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.events.errors import InvalidTicketError
from claimbus.events.ticket import Ticket

PREFETCH: Final = 500
"""Entries on their way at a time; a stream gives none without a prefetch."""

FIRST: Final = 5.0
"""Seconds without a first entry after which there is none."""

NEXT: Final = 1.0
"""Seconds without another entry after which the last chunk is read to its end."""

SILENCE: Final = 30.0
"""Seconds without another entry, although more are there, after which reading is given up."""


class JournalEntry(NamedTuple):
    """A ticket as it was published.

    ``offset`` counts entries from 0. ``routing_key`` is that of the first recipient: a stream keeps no
    ``BCC``, so who else may see the event is known from its claim alone. ``ticket`` is None for what is none.
    """

    offset: int
    routing_key: str
    ticket: Ticket | None


async def read(connection: Connection, *, since: datetime) -> AsyncIterator[JournalEntry]:
    """Yield what was published from ``since`` (aware) on, in order, up to the last entry of this moment.

    RabbitMQ begins with a whole chunk, so some entries may be older than ``since``; nothing older than the
    claim life is there. Raises BrokerUnavailableError when the connection is lost, or the stream falls silent
    in the middle, and TopologyError when there is no journal.
    """
    last = await _last_offset(connection)
    if last is None:
        return
    offset = None
    async with aclosing(_entries(connection, since.astimezone(UTC), SILENCE)) as entries:
        async for entry in entries:
            yield entry
            offset = entry.offset
            if offset >= last:
                return
    if offset is not None:
        raise BrokerUnavailableError(f"the journal fell silent at entry {offset} of {last}")


async def _last_offset(connection: Connection) -> int | None:
    """Return the offset of the last entry by reading the last chunk; RabbitMQ's count lags by seconds."""
    last = None
    async with aclosing(_entries(connection, "last", NEXT)) as entries:
        async for entry in entries:
            last = entry.offset
    return last


async def _entries(
    connection: Connection, start: datetime | Literal["last"], patience: float
) -> AsyncGenerator[JournalEntry, None]:
    """Yield entries from ``start`` on, until none comes for ``patience`` seconds."""
    contents: asyncio.Queue[tuple[bytes, bytes, bytes] | Exception] = asyncio.Queue()
    async with await connection.channel() as channel:
        channel.on_closed(contents.put_nowait)
        await channel.qos(PREFETCH)
        await channel.consume(
            topology.JOURNAL,
            lambda *content: contents.put_nowait(content),
            tag="journal",
            arguments={"x-stream-offset": start},
        )
        wait = FIRST
        while True:
            try:
                async with asyncio.timeout(wait):
                    content = await contents.get()
            except TimeoutError:
                return
            if isinstance(content, Exception):
                raise errors.closed(content, "reading the journal") from content
            method, header, body = content
            yield _entry(method, header, body)
            channel.write(frames.ack(channel.number, frames.read_tag(method), multiple=False))
            wait = patience


def _entry(method: bytes, header: bytes, body: bytes) -> JournalEntry:
    properties = frames.read_properties(header)
    try:
        ticket = codec.read_ticket(properties, body)
    except InvalidTicketError:
        ticket = None
    return JournalEntry(
        properties.headers["x-stream-offset"], frames.read_deliver(method).routing_key, ticket
    )
