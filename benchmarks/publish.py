"""Publishing: events/s checked in and confirmed, beside C and beside the body on the message."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import limit
from benchmarks.bodies import TYPE, file_of_bodies
from benchmarks.report import Result
from benchmarks.runner import Progress, interleaved, run_side
from benchmarks.servers import BenchmarkError, room
from benchmarks.side import Outcome, Publishing
from benchmarks.sides.publish_limit import PROGRAM

PRODUCT: Final = "publish_claimbus"
LIMIT: Final = "publish_limit"
PEERS: Final = ("publish_aio_pika", "publish_faststream")
BLOCKING: Final = "publish_kombu"
"""Shown beside the peers, and no peer: it blocks, does not reconnect, and its window is counted by hand."""

SIDES: Final = (PRODUCT, LIMIT, *PEERS, BLOCKING)

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

        def one_round(side: str) -> Outcome:
            outcome = run_side(side, order, servers, environment)
            arrived, claims = servers.purge([QUEUE]), servers.clear_claims()
            if arrived != outcome.count or (side not in (*PEERS, BLOCKING) and claims != arrived):
                raise BenchmarkError(
                    f"void: {side} says {outcome.count} events; arrived: {arrived}, claims: {claims}"
                )
            return outcome

        outcomes = interleaved(sides, repeat, one_round, progress)
    compared = {"vs_limit": (LIMIT,), "vs_best_peer": PEERS}
    return Result("publish", "events/s", size, PRODUCT, outcomes, compared)
