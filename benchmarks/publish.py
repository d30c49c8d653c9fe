"""Publishing: events/s checked in and confirmed, beside C and beside the body on the message."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import chart, limit
from benchmarks.bodies import TYPE, file_of_bodies
from benchmarks.comparison import Result
from benchmarks.report import Report, Target
from benchmarks.runner import Progress, interleaved, run_side
from benchmarks.servers import BenchmarkError, Room, room
from benchmarks.side import Outcome, Publishing
from benchmarks.sides.publish_limit import PROGRAM

PRODUCT: Final = "publish_claimbus"
LIMIT: Final = "publish_limit"
PEERS: Final = ("publish_aio_pika", "publish_faststream", "publish_kombu")
"""What a user would pick instead. Kombu blocks, does not reconnect, and its window is counted by hand."""

SIDES: Final = (PRODUCT, LIMIT, *PEERS)
TARGETS: Final[Mapping[int, Mapping[str, float]]] = {
    2048: {"vs_limit": 0.7, "vs_best_peer": 2.0},
    102400: {"vs_best_peer": 3.0},
}
"""The ratios to reach, by the size of a body."""

WORDS: Final = {"vs_limit": "÷ C limit", "vs_best_peer": "÷ best peer"}
EXCHANGE: Final = "oms"
QUEUE: Final = "endpoint.bench.1"
PARTICIPANT: Final = "PGAE"

MOST_BYTES: Final = 256 * 1024 * 1024
"""Of bodies a round, so that no server runs into its memory limit."""


def publish(
    *,
    size: int,
    seconds: float,
    events: int | None,
    window: int,
    repeat: int,
    sides: Sequence[str],
    progress: Progress,
) -> Result:
    """Compare the sides with bodies of ``size`` bytes.

    A round publishes for ``seconds``, or ``events`` events if that is sooner. Raises BenchmarkError when a
    side lost an event: its figure would be void.
    """
    with tempfile.TemporaryDirectory() as folder, file_of_bodies(size) as bodies, room() as servers:
        environment = {PROGRAM: str(limit.compiled("publish", Path(folder)))} if LIMIT in sides else {}
        one = partial(
            one_round,
            servers=servers,
            bodies=bodies,
            size=size,
            events=events,
            seconds=seconds,
            window=window,
        )
        outcomes = interleaved(sides, repeat, partial(one, environment=environment), progress)
    compared = {"vs_limit": (LIMIT,), "vs_best_peer": PEERS}
    result = Result("publish", "events/s", size, PRODUCT, outcomes, compared)
    result.check_alike(SIDES)
    return result


def one_round(
    side: str,
    servers: Room,
    bodies: Path,
    *,
    size: int,
    events: int | None,
    seconds: float,
    window: int,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Let one side publish once. Raises BenchmarkError when it lost an event."""
    servers.declare(EXCHANGE, [QUEUE], f"{EXCHANGE}.#.{PARTICIPANT}")
    order = Publishing(
        exchange=EXCHANGE,
        routing_key=f"{TYPE}.{PARTICIPANT}",
        type=TYPE,
        bodies=str(bodies),
        size=size,
        events=events or max(window, MOST_BYTES // size),
        seconds=seconds,
        window=window,
        key_prefix=servers.key_prefix,
    )
    outcome = run_side(side, order, servers, environment)
    arrived, claims = servers.purge([QUEUE]), servers.clear_claims()
    if arrived != outcome.count or (side not in PEERS and claims != arrived):
        raise BenchmarkError(
            f"void: {side} says {outcome.count} events; arrived: {arrived}, claims: {claims}"
        )
    return outcome


def report(results: Sequence[Result]) -> Report:
    """Return the report of the results, one a size of body."""
    targets = [
        Target(f"{result.size:,} bytes, {WORDS[ratio]}", bound, result.ratios()[ratio])
        for result in results
        for ratio, bound in TARGETS.get(result.size, {}).items()
    ]
    bars = [chart.Bar(one.what, one.measured, one.bound) for one in targets if one.measured is not None]
    first, *others = (result.document() for result in results)
    return Report(
        name="publish",
        sheets=[result.sheet() for result in results],
        chart=chart.bars(
            "Publishing: claimbus ÷ the others", "times as many events a second (stroke: target)", bars
        ),
        targets=targets,
        notes=list(results[0].settings()),
        document={**first, "other_bodies": others},
    )
