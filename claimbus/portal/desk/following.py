"""What is being published: the journal is followed from now on, while somebody looks."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from claimbus.broker import topology
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.portal.desk.memory import Memory

FOR: Final = 30.0
"""Seconds without a look after which nobody follows any more."""

WINDOW: Final = 60
"""Seconds over which what comes is counted."""

REMEMBERED: Final = 20_000
"""Events whose arrival is remembered."""

PREFETCH: Final = 500


class Intake(NamedTuple):
    """Events a second, counted over so many ``seconds``: fewer than `WINDOW` when it has just begun."""

    rate: float
    seconds: float


class Following:
    """Follows the journal for a portal. It hears of an event when RabbitMQ has stored its ticket."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._wanted = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._seconds: OrderedDict[int, int] = OrderedDict()
        self._arrived: OrderedDict[str, int] = OrderedDict()

    async def look(self, memory: Memory, connection: Connection) -> Intake | None:
        """Return what comes in; None in the first second. Raises BrokerUnavailableError, TopologyError."""
        now = time.monotonic()
        self._wanted.set()
        async with self._beginning:
            if self._begun is None:
                consumer = Consumer(connection)
                await consumer.start(
                    topology.JOURNAL,
                    prefetch=PREFETCH,
                    on_delivery=self._take,
                    on_void=lambda _reason: self._forget(),
                    arguments={"x-stream-offset": "next"},
                )
                self._begun = time.monotonic()
                memory.start(self._end(consumer), "the desk follows the journal")
        seconds = min(now - self._begun, WINDOW)
        if seconds < 1:
            return None
        counted = sum(count for second, count in self._seconds.items() if second > now - 1 - seconds)
        return Intake(counted / seconds, seconds)

    def latencies(self, delivered: Sequence[tuple[str, int]]) -> list[int]:
        """Return the milliseconds from arrival to answer, by our clock, of those messages that were seen."""
        return [
            max(0, at - self._arrived[message_id])
            for message_id, at in delivered
            if message_id in self._arrived
        ]

    def _take(self, delivery: Delivery) -> None:
        delivery.ack()
        second = int(time.monotonic())
        self._seconds[second] = self._seconds.get(second, 0) + 1
        if len(self._seconds) > WINDOW + 1:
            self._seconds.popitem(last=False)
        message_id = delivery.properties.message_id
        if message_id is not None:
            self._arrived.setdefault(message_id, time.time_ns() // 1_000_000)
            if len(self._arrived) > REMEMBERED:
                self._arrived.popitem(last=False)

    def _forget(self) -> None:
        """Count anew: the connection was lost, and what came meanwhile is not given."""
        self._seconds.clear()
        if self._begun is not None:
            self._begun = time.monotonic()

    async def _end(self, consumer: Consumer) -> None:
        try:
            while True:
                self._wanted.clear()
                async with asyncio.timeout(FOR):
                    await self._wanted.wait()
        except TimeoutError:
            pass
        finally:
            self._begun = None
            self._seconds.clear()
            self._arrived.clear()
            await consumer.stop()
