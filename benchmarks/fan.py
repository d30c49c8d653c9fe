"""RabbitMQ alone: one event to so many queues, and where one queue and the journal end.

Tickets of claims that are not there, by the product's own publisher and consumer, on its own topology.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import chart
from benchmarks.bodies import TYPE
from benchmarks.report import Cell, Report, Sheet
from benchmarks.runner import Progress
from benchmarks.servers import Room, room
from benchmarks.side import side_by_side
from claimbus.broker import journal, topology
from claimbus.broker.codec import redelivery_message, ticket_message
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.frames import Message
from claimbus.broker.publisher import WINDOW, Publisher
from claimbus.broker.topology import Topology
from claimbus.events.event import ALL, Audience, audience_of
from claimbus.events.routing import bindings, route
from claimbus.events.ticket import Ticket

TO_MANY: Final = 64
"""Events in flight to many queues at once; to one queue the publisher's own window is filled."""

ALONE: Final = 15
"""Events that go one after another, for the time of one."""

PREFETCH: Final = 800


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds, and the CPU seconds of RabbitMQ's processes and of ours meanwhile."""

    count: int
    seconds: float
    server: float
    own: float

    def cells(self) -> tuple[Cell, ...]:
        """Return how many a second, and the µs of CPU for each."""
        micros = (seconds / self.count * 1e6 for seconds in (self.server, self.own))
        return round(self.count / self.seconds), *(round(each, 1) for each in micros)


@dataclass(frozen=True, slots=True)
class Fan:
    """One event to so many queues: the milliseconds of one alone, and the rate with `TO_MANY` in flight."""

    queues: int
    alone_ms: float
    events: Rate

    @property
    def rate(self) -> float:
        """How many events a second."""
        return self.events.count / self.events.seconds

    def cells(self) -> tuple[Cell, ...]:
        """Return a row of the table."""
        micros = self.events.server / self.events.count * 1e6
        return (
            f"{self.queues:,}",
            round(self.alone_ms, 1),
            round(self.rate),
            round(self.rate * self.queues),
            round(micros),
            round(micros / self.queues, 1),
        )


class Watch:
    """Wall and CPU seconds since it was made, of RabbitMQ's processes that run here, and of ours."""

    def __init__(self, servers: Collection[int]) -> None:
        self._servers = servers
        self._begun = self._now()

    def rate(self, count: int) -> Rate:
        """Stop, and say what was done meanwhile."""
        return Rate(count, *(now - begun for now, begun in zip(self._now(), self._begun, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), sum(map(processor_seconds, self._servers)), time.process_time()


def processor_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far, user and system, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bus:
    """The product's topology with queues as those of endpoints; ``nodes`` are RabbitMQ's process IDs."""

    def __init__(self, publisher: Publisher, connection: Connection, nodes: Collection[int]) -> None:
        self._publisher = publisher
        self._connection = connection
        self._watch = partial(Watch, nodes)
        self.queues: list[str] = []

    async def grow(self, count: int) -> None:
        """Have ``count`` queues, each of another participant."""
        async with await self._connection.channel() as channel:
            for number in range(len(self.queues), count):
                endpoint = f"ep_{number}"
                queue = await topology.declare_endpoint(channel, endpoint, 1, ordered=False)
                await topology.bind_endpoint(channel, queue, endpoint, bindings("oms.#", f"P{number:03}"))
                self.queues.append(queue)

    async def fan(self, seconds: float) -> Fan:
        """Publish to everybody."""
        message = partial(_ticket_to, ALL)
        took = []
        for _ in range(ALONE):
            begun = time.monotonic()
            await self._publisher.publish(message())
            took.append(time.monotonic() - begun)
        watch = self._watch()
        count = await self._publish(message, seconds, TO_MANY)
        return Fan(len(self.queues), median(took) * 1000, watch.rate(count))

    async def ends(self, seconds: float) -> dict[str, Rate]:
        """Fill the journal and read it; fill a queue, past the journal, and empty it."""
        found, watch = {}, self._watch()
        written = await self._publish(partial(_ticket_to, audience_of(["NOBODY"])), seconds, WINDOW)
        found["the journal: publish"] = watch.rate(written)
        watch, entries = self._watch(), 0
        async with aclosing(journal.read(self._connection, since=0)) as reading:
            async for _ in reading:
                entries += 1
        found["the journal: read"] = watch.rate(entries)
        watch = self._watch()
        filled = await self._publish(lambda: redelivery_message(_ticket("ep_0")), seconds, WINDOW)
        found["one queue: publish"] = watch.rate(filled)
        watch = self._watch()
        await self._empty(self.queues[0], filled)
        found["one queue: consume and ack"] = watch.rate(filled)
        return found

    async def _publish(self, message: Callable[[], Message], seconds: float, window: int) -> int:
        deadline, confirmed = time.monotonic() + seconds, 0

        async def one_by_one() -> None:
            nonlocal confirmed
            while time.monotonic() < deadline:
                await self._publisher.publish(message())
                confirmed += 1

        await side_by_side(window, one_by_one)
        return confirmed

    async def _empty(self, queue: str, left: int) -> None:
        empty, consumer = asyncio.Event(), Consumer(self._connection)

        def take(delivery: Delivery) -> None:
            nonlocal left
            delivery.ack()
            left -= 1
            if not left:
                empty.set()

        await consumer.start(queue, prefetch=PREFETCH, on_delivery=take)
        await empty.wait()
        await consumer.stop()


@dataclass(frozen=True, slots=True)
class Found:
    """Fans of growing size, and the ends of a queue and of the journal."""

    fans: Sequence[Fan]
    ends: Mapping[str, Rate]

    def sheets(self) -> list[Sheet]:
        """Return both as tables, as far as there is anything in them."""
        columns = ("queues", "one alone, ms", "events/s", "enqueues/s", "RabbitMQ µs an event", "an enqueue")
        sheets = [
            Sheet("one event to all, RabbitMQ alone", columns, [one.cells() for one in self.fans]),
            Sheet(
                "ends, RabbitMQ alone",
                ("what", "a second", "RabbitMQ µs", "own µs"),
                [(what, *rate.cells()) for what, rate in self.ends.items()],
            ),
        ]
        return [sheet for sheet in sheets if sheet.rows]

    def document(self) -> dict[str, Any]:
        """Return the fans for a program."""
        return {"to_all": {one.queues: {"alone ms": one.alone_ms, "a second": one.rate} for one in self.fans}}


def fan(*, queues: Sequence[int], seconds: float, progress: Progress) -> Report:
    """Measure it alone, on servers' rooms of its own."""
    progress("one event to many queues")
    with room() as servers:
        found = measure(servers, queues, seconds)
    bars = [chart.Bar(f"{one.queues:,} queues", one.rate * one.queues) for one in found.fans]
    return Report(
        name="fan",
        sheets=found.sheets(),
        chart=chart.bars("One event to so many queues", "enqueues a second", bars),
        document=found.document(),
    )


def measure(servers: Room, queues: Sequence[int], seconds: float) -> Found:
    """Measure with each of these numbers of queues, each rate for ``seconds``."""
    nodes = [pid for name, pid in servers.process_ids().items() if name.startswith("RabbitMQ")]
    return uvloop.run(measured(servers.amqp_url, nodes, queues, seconds, servers.purge))


async def measured(
    amqp_url: str,
    nodes: Collection[int],
    queues: Sequence[int],
    seconds: float,
    purge: Callable[[Sequence[str]], object],
) -> Found:
    """Do it in an empty vhost; ``purge`` empties queues, of whose messages each round has enough."""
    publisher = await Publisher.open(amqp_url, topology=Topology())
    try:
        connection = await Connection.open(amqp_url, name="fan")
        try:
            bus = Bus(publisher, connection, nodes)
            await bus.grow(1)
            ends, fans = await bus.ends(seconds), []
            for count in queues:
                await bus.grow(count)
                fans.append(await bus.fan(seconds))
                await asyncio.to_thread(purge, bus.queues)
            return Found(fans, ends)
        finally:
            await connection.aclose()
    finally:
        await publisher.aclose()


def _ticket_to(audience: Audience) -> Message:
    return ticket_message(_ticket(), route(TYPE, audience))


def _ticket(endpoint: str | None = None) -> Ticket:
    now = int(time.time())
    return Ticket(
        claim_id=secrets.token_urlsafe(16),
        message_id=f"evt_{secrets.token_urlsafe(18)}",
        type=TYPE,
        timestamp=now,
        expires=now + 7 * 86400,
        endpoint=endpoint,
    )
