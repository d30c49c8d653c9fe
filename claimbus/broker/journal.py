"""Reading the journal: every ticket that was published, from a moment on."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from claimbus.broker import codec, errors, frames, topology
from claimbus.broker.channel import Channel
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, TopologyError
from claimbus.events.errors import InvalidTicketError
from claimbus.events.ticket import Ticket

_log = logging.getLogger(__name__)

PREFETCH: Final = 500
"""Entries on their way at a time; a stream gives none without a prefetch."""

ACKED_AT_ONCE: Final = 100
"""Entries; with an ack and a timeout for each, reading took 14 µs an entry instead of 9."""

FIRST: Final = 5.0
"""Seconds without a first entry after which there is none. Nothing else tells it: RabbitMQ's count lags."""

NEXT: Final = 1.0
"""Seconds without another entry after which the last chunk is read to its end."""

LAST: Final = 3.0
"""Seconds after its first entry in which the last chunk has been read, also when others follow it."""

SILENCE: Final = 30.0
"""Seconds without another entry, although more are there, after which reading is given up."""

Content = tuple[bytes, bytes, bytes] | Exception


class JournalEntry(NamedTuple):
    """A ticket as it was published.

    ``offset`` counts entries from 0; RabbitMQ takes one for itself where a segment begins. ``routing_key`` is
    that of the first recipient: a stream keeps no ``BCC``, so who else may see the event is known from its
    claim alone. ``ticket`` is None for what is none.
    """

    offset: int
    routing_key: str
    ticket: Ticket | None


async def first_entry(connection: Connection) -> JournalEntry | None:
    """Return the oldest entry that is left, None when there is none, which takes seconds.

    Raises BrokerUnavailableError, and TopologyError when there is no journal.
    """
    return await _entry_at(connection, "first")


async def last_offset(connection: Connection) -> int | None:
    """Return the offset of the last entry, None when there is none; it takes a second or more.

    The last chunk is read for it: RabbitMQ's count lags by seconds. While more is published all the time, an
    entry of the last seconds is given. Raises BrokerUnavailableError, and TopologyError when there is no
    journal.
    """
    loop = asyncio.get_running_loop()
    last, begun = None, loop.time()
    async with aclosing(_entries(connection, "last", NEXT)) as entries:
        async for entry in entries:
            begun = loop.time() if last is None else begun
            last = entry.offset
            if loop.time() - begun > LAST:
                break
    return last


async def read(
    connection: Connection, *, since: datetime | int, last: int | None = None
) -> AsyncGenerator[JournalEntry, None]:
    """Yield what was published from ``since`` (an aware moment, or an offset) on, in order, up to ``last``.

    RabbitMQ begins with a whole chunk, so some entries may be older than the moment; nothing older than the
    claim life is there. ``last`` is an offset; without it the last entry of this moment is. Reading goes on
    after a loss of the connection. Raises BrokerUnavailableError when it does not come back, or the stream
    falls silent in the middle, and TopologyError when there is no journal.
    """
    if last is None:
        last = await last_offset(connection)
    begin = since if isinstance(since, int) else since.astimezone(UTC)
    if last is None or (isinstance(begin, int) and begin > last):
        return
    while True:
        begun = begin
        try:
            async with aclosing(_stretch(connection, begin, last)) as entries:
                async for entry in entries:
                    yield entry
                    begin = entry.offset + 1
        except (BrokerUnavailableError, TopologyError) as lost:
            if begin == begun:
                raise
            _log.warning("reading the journal on from entry %s: %s", begin, lost)
        else:
            return


async def _stretch(
    connection: Connection, begin: datetime | int, last: int
) -> AsyncGenerator[JournalEntry, None]:
    """Yield entries up to ``last``, on one channel; none is fine when none is as new as the moment."""
    async with aclosing(_entries(connection, begin, SILENCE)) as entries:
        async for entry in entries:
            yield entry
            begin = entry.offset + 1
            if begin > last:
                return
    if isinstance(begin, int):
        raise BrokerUnavailableError(f"the journal fell silent before entry {begin} of {last}")


async def _entries(
    connection: Connection, start: datetime | int | Literal["first", "last"], patience: float
) -> AsyncGenerator[JournalEntry, None]:
    """Yield entries from ``start`` on, until none comes for ``patience`` seconds."""
    contents: asyncio.Queue[Content] = asyncio.Queue()
    async with await connection.channel() as channel:
        channel.on_closed(contents.put_nowait)
        channel.on_cancelled(lambda: contents.put_nowait(BrokerUnavailableError("the journal went away")))
        await channel.qos(PREFETCH)
        await channel.consume(
            topology.JOURNAL,
            lambda *content: contents.put_nowait(content),
            tag="journal",
            arguments={"x-stream-offset": start},
        )
        wait, unacked = FIRST, 0
        if isinstance(start, datetime):
            await _settle(connection, channel)
            wait = NEXT
        while True:
            try:
                content = contents.get_nowait() if contents.qsize() else await _next(contents, wait)
            except TimeoutError:
                return
            if isinstance(content, Exception):
                raise errors.closed(content, "reading the journal") from content
            method, header, body = content
            yield _entry(method, header, body)
            wait, unacked = patience, unacked + 1
            if unacked >= ACKED_AT_ONCE or contents.empty():
                channel.write(frames.ack(channel.number, frames.read_tag(method), multiple=True))
                unacked = 0


async def _settle(connection: Connection, channel: Channel) -> None:
    """Return once RabbitMQ has sent the first entries from a moment on, if there are any.

    It sends none when none is as new, and does not say so. But finding the moment is done before the channel
    answers the next request; the journal tells its readers in turn that there is something; and the channel
    sends what it was told of before it answers once more.
    """
    await channel.qos(PREFETCH)
    await _entry_at(connection, "last")
    await channel.qos(PREFETCH)


async def _entry_at(connection: Connection, place: Literal["first", "last"]) -> JournalEntry | None:
    """Return the oldest entry, or the first one of the last chunk."""
    async with aclosing(_entries(connection, place, NEXT)) as entries:
        return await anext(entries, None)


async def _next(contents: asyncio.Queue[Content], within: float) -> Content:
    async with asyncio.timeout(within):
        return await contents.get()


def _entry(method: bytes, header: bytes, body: bytes) -> JournalEntry:
    properties = frames.read_properties(header)
    try:
        ticket = codec.read_ticket(properties, body)
    except InvalidTicketError:
        ticket = None
    return JournalEntry(
        properties.headers["x-stream-offset"], frames.read_deliver(method).routing_key, ticket
    )
