"""A worker, its endpoints on a sink, and events at a given pace: what latency is measured on."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import limit
from benchmarks.bodies import file_of_bodies
from benchmarks.runner import Running, run_side, running_side
from benchmarks.servers import BenchmarkError, Room, room
from benchmarks.side import Delivering, Outcome, Pacing, Trouble
from benchmarks.sink import Sink, running_sink
from benchmarks.spread import Spread

ARRIVE_WITHIN: Final = 120.0
WARM_UP: Final = 1.0
PREFETCH: Final = 32


@dataclass(frozen=True, slots=True)
class Paced:
    """What a pace came to: each arrival's endpoint, and the nanoseconds since the event was due."""

    publishing: Outcome
    arrivals: Sequence[tuple[int, int]]

    def spread(self, first: int = 0) -> Spread:
        """Return the latencies of the endpoints from this number on."""
        return Spread.of([taken for endpoint, taken in self.arrivals if endpoint >= first])


@dataclass(frozen=True, slots=True)
class Stage:
    """A running worker and its endpoints; each has a participant of its own."""

    order: Delivering
    servers: Room
    sink: Sink
    worker: Running

    def publish_at_once(self, *, seconds: float, window: int) -> float:
        """Publish as fast as it goes, and return how many a second arrived, from the first to the last."""
        before = self.sink.tally()
        publishing = run_side(
            "pace_claimbus", self._pacing(rate=0, seconds=seconds, window=window), self.servers
        )
        self._await(sum(before.counts) + publishing.count)
        noted = self.sink.arrivals()[sum(before.counts) :]
        return len(noted) / (noted[-1].nanoseconds - noted[0].nanoseconds) * 1e9

    def publish(self, *, rate: float, seconds: float, warm_up: float = WARM_UP) -> Paced:
        """Publish at a pace, and return how long each event took, from the moment at which it was due.

        The events of the first ``warm_up`` seconds, which open connections, come on top and do not count.
        """
        before = sum(self.sink.tally().counts)
        pacing = self._pacing(rate=rate, seconds=warm_up + seconds, window=1)
        publishing = run_side("pace_claimbus", pacing, self.servers)
        endpoints, troubled = self.order.endpoints, self.order.troubled
        healthy = sum(number % endpoints >= troubled for number in range(publishing.count))
        self._await(before + healthy)
        begin = int(publishing.settings["begin"])
        noted = self.sink.arrivals()[before:]
        if len(noted) != healthy:
            raise BenchmarkError(f"void: {len(noted)} deliveries came of {healthy}")
        arrivals = [
            (one.path, one.nanoseconds - begin - one.event * pacing.period())
            for one in noted
            if one.event >= rate * warm_up
        ]
        return Paced(publishing, arrivals)

    def _pacing(self, *, rate: float, seconds: float, window: int) -> Pacing:
        return Pacing(
            rate=rate,
            seconds=seconds,
            participants=self.order.endpoints,
            window=window,
            bodies=self.order.bodies,
            size=self.order.size,
            key_prefix=self.order.key_prefix,
        )

    def _await(self, arrived: int) -> None:
        deadline = time.monotonic() + ARRIVE_WITHIN
        while (there := sum(self.sink.tally().counts)) < arrived:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"void: {there} deliveries came of {arrived}")
            time.sleep(0.02)


def _nothing(_: Delivering, __: Room) -> None:
    """Prepare nothing."""


@contextmanager
def stage(
    *,
    size: int,
    endpoints: int,
    noted: int,
    troubled: int = 0,
    trouble: Trouble | None = None,
    prepare: Callable[[Delivering, Room], None] = _nothing,
) -> Iterator[Stage]:
    """Set a stage up on servers' rooms of its own; its sink notes up to ``noted`` arrivals.

    ``prepare`` is called before the worker starts.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        file_of_bodies(size) as bodies,
        room() as servers,
        running_sink(limit.compiled("sink", Path(folder)), paths=endpoints, noted=noted) as sink,
    ):
        order = Delivering(
            sink=sink.url,
            authority=None,
            endpoints=endpoints,
            events=0,
            bodies=str(bodies),
            size=size,
            prefetch=PREFETCH,
            key_prefix=servers.key_prefix,
            database=str(Path(folder) / "claimbus.db"),
            troubled=troubled if trouble else 0,
            trouble=trouble,
        )
        run_side("provision_claimbus", order, servers)
        prepare(order, servers)
        with running_side("work_claimbus", order, servers) as worker:
            yield Stage(order, servers, sink, worker)
            worker.end()
