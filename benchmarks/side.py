"""A side of a benchmark: a process of its own that gets one order and answers with one outcome.

``python -m benchmarks.sides.<name> '<order as JSON>'`` prints the outcome as one line of JSON. The servers
are in the environment (``CLAIMBUS_AMQP_URL``, ``CLAIMBUS_REDIS_URL``), so no password is in a command line.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import uvloop

from benchmarks.bodies import read_bodies

Trouble = Literal["dead", "slow", "failing"]
"""Nobody listens; the answer takes two seconds; the answer is 500."""

NOBODY: Final = "http://127.0.0.1:1"
"""Where connections are refused."""

CONFIRMED: Final = "durable quorum queue, persistent, mandatory, confirmed"
"""How every side publishes."""

NO_PREFETCH: Final = "none, nothing is consumed"
"""What every side that only publishes says of its prefetch."""

ACKNOWLEDGED: Final = "durable quorum queues, persistent; signed, acknowledged after the answer"
"""How every side delivers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a side is told; one kind for each kind of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing(Order):
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
class Delivering(Order):
    """Deliver ``events`` events to each of ``endpoints`` paths (``/0``, ``/1``, …) of a sink.

    ``prefetch`` is a queue's limit of unacknowledged messages, and so of an endpoint's requests in flight.
    ``authority`` is the PEM file of the certificate authority when the sink speaks TLS. ``database`` is the
    SQLite file, or another database's URL, of a side that needs one. The first ``troubled`` endpoints are in
    some ``trouble``.
    """

    sink: str
    authority: str | None
    endpoints: int
    events: int
    bodies: str
    size: int
    prefetch: int
    key_prefix: str
    database: str
    troubled: int = 0
    trouble: Trouble | None = None

    def url(self, number: int) -> str:
        """Return an endpoint's URL."""
        if number >= self.troubled or self.trouble is None:
            return f"{self.sink}/{number}"
        return f"{NOBODY}/{number}" if self.trouble == "dead" else f"{self.sink}/{number}/{self.trouble}"

    @staticmethod
    def queue(number: int) -> str:
        """Return the name of an endpoint's queue."""
        return f"endpoint.{number}.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling(Delivering):
    """Put ``count`` of ``what`` there; `benchmarks.sides.fill` has what that may be."""

    what: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing(Order):
    """Publish ``rate`` events a second for ``seconds``, to ``participants`` participants in turn.

    The nth event, counted from 0, has the ID n and is due n periods after the first, however long those
    before it take. With a rate of 0 it publishes as fast as it can, ``window`` events at a time.
    """

    rate: float
    seconds: float
    participants: int
    window: int
    bodies: str
    size: int
    key_prefix: str

    def period(self) -> int:
        """Return the nanoseconds from one event to the next."""
        return round(1e9 / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping(Order):
    """Do one step with dead letters, dealt out to ``endpoints`` endpoints; ``database`` is a SQLite file."""

    step: str
    letters: int
    endpoints: int
    bodies: str
    size: int
    window: int
    key_prefix: str
    database: str

    def bodies_to_take(self) -> list[bytes]:
        """Return the bodies, to be taken in turn."""
        return read_bodies(Path(self.bodies), self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciling(Order):
    """Do one step of an account of ``entries`` of the journal, each to ``endpoints`` endpoints."""

    step: str
    entries: int
    endpoints: int
    window: int
    key_prefix: str
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking(Order):
    """Ask a portal, or what stands for it: ``count`` bodies or frames, ``window`` at a time.

    ``size`` is a body's in bytes. ``url`` has no path; ``claims`` are the IDs to be asked for in turn,
    ``endpoint`` is the stream's.
    """

    step: str
    url: str
    token: str
    claims: list[str]
    endpoint: str
    bodies: str
    size: int
    count: int
    window: int
    key_prefix: str
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a side did: events or deliveries, wall and CPU seconds, and the settings that it really used.

    ``grown_bytes``: by how much its memory at its peak exceeded that at the beginning; None if unknown.
    """

    count: int
    seconds: float
    cpu_seconds: float
    settings: dict[str, str | float]
    grown_bytes: int | None = None


class Stopwatch:
    """Wall and CPU seconds and memory of this process, all its threads, since it was made."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._resident = _memory("VmRSS")
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def outcome(self, count: int, **settings: str | float) -> Outcome:
        """Stop, and say what was done and with which settings."""
        return Outcome(
            count=count,
            seconds=time.monotonic() - self._wall,
            cpu_seconds=time.process_time() - self._cpu,
            settings=settings,
            grown_bytes=_memory("VmHWM") - self._resident,
        )


AnyOrder = TypeVar("AnyOrder", bound=Order)


def order_of_this_side(kind: type[AnyOrder]) -> AnyOrder:
    """Return the order in the command line."""
    return kind(**json.loads(sys.argv[1]))


def play(kind: type[AnyOrder], work: Callable[[AnyOrder], Coroutine[Any, Any, Outcome]]) -> None:
    """Carry out the order on uvloop and print the outcome."""
    outcome = uvloop.run(work(order_of_this_side(kind)))
    print(json.dumps(asdict(outcome)))


async def side_by_side(count: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``count`` coroutines at once; the first failure ends all."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())


def _memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
