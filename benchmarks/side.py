"""A side of a benchmark: a process of its own that gets one order and answers with one outcome.

``python -m benchmarks.sides.<name> '<order as JSON>'`` prints the outcome as one line of JSON. The servers are
in the environment (``CLAIMBUS_AMQP_URL``, ``CLAIMBUS_REDIS_URL``), so that no password is in a command line.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from benchmarks.bodies import read_bodies

CONFIRMED: Final = "durable quorum queue, persistent, mandatory, confirmed"
"""How every side publishes."""

ACKNOWLEDGED: Final = "signed, acknowledged after the answer"
"""How every side delivers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Publish ``events`` bodies, or as many as can be begun in ``seconds``; ``window`` in flight."""

    exchange: str
    routing_key: str
    type: str
    bodies: str
    size: int
    events: int
    seconds: float
    window: int
    key_prefix: str

    def feed(self) -> Iterator[bytes]:
        """Give the bodies; ends with the last event or at the deadline, counted from the first."""
        deadline = time.monotonic() + self.seconds
        for body in islice(cycle(read_bodies(Path(self.bodies), self.size)), self.events):
            if time.monotonic() > deadline:
                return
            yield body


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivering:
    """Deliver ``events`` events to each of ``endpoints`` paths (``/0``, ``/1``, …) of a sink.

    ``prefetch`` is a queue's limit of unacknowledged messages, and so of an endpoint's requests in flight.
    ``authority`` is the PEM file of the certificate authority when the sink speaks TLS.
    """

    sink: str
    authority: str | None
    endpoints: int
    events: int
    bodies: str
    size: int
    prefetch: int
    key_prefix: str

    @staticmethod
    def queue(number: int) -> str:
        """Return the name of an endpoint's queue."""
        return f"endpoint.{number}.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a side did: events or deliveries, wall and CPU seconds, and the settings that it really used."""

    count: int
    seconds: float
    cpu_seconds: float
    settings: dict[str, str | int]


class Stopwatch:
    """Wall and CPU seconds of this process, all its threads, since it was made."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def outcome(self, count: int, **settings: str | int) -> Outcome:
        """Stop, and say what was done and with which settings."""
        seconds, cpu_seconds = time.monotonic() - self._wall, time.process_time() - self._cpu
        return Outcome(count=count, seconds=seconds, cpu_seconds=cpu_seconds, settings=settings)


Order = TypeVar("Order", Publishing, Delivering)


def order_of_this_side(kind: type[Order]) -> Order:
    """Return the order in the command line."""
    return kind(**json.loads(sys.argv[1]))


def play(kind: type[Order], work: Callable[[Order], Coroutine[Any, Any, Outcome]]) -> None:
    """Carry out the order on uvloop and print the outcome."""
    outcome = uvloop.run(work(order_of_this_side(kind)))
    print(json.dumps(asdict(outcome)))


async def side_by_side(count: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``count`` coroutines at once; the first failure ends all."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())
