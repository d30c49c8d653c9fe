"""Delivering: deliveries/s of one worker process, beside a bare HTTP loop and beside what one writes by hand.

Every side's queues are filled by the same fan-out: each event is published once to a topic exchange, and
RabbitMQ copies it, as a ticket or with its body, into the quorum queue of each endpoint.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import chart, limit
from benchmarks.bodies import TYPE, file_of_bodies
from benchmarks.comparison import Result
from benchmarks.report import Report, Sheet, Target
from benchmarks.runner import Progress, interleaved, run_side
from benchmarks.servers import BenchmarkError, Room, room
from benchmarks.side import Delivering, Outcome, Publishing
from benchmarks.sink import Sink, Tally, running_sink

PRODUCT: Final = "deliver_claimbus"
LIMIT: Final = "deliver_bare"
PEERS: Final = ("deliver_aio_pika",)
SIDES: Final = (PRODUCT, LIMIT, *PEERS)

LOADED_BY: Final[Mapping[str, str]] = {
    "deliver_claimbus": "publish_claimbus",
    "deliver_aio_pika": "publish_aio_pika",
}
"""The side that fills the queues of a side; the bare loop has none."""

TARGETS: Final = {"vs_bare": ("÷ bare loop", 0.3), "vs_best_peer": ("÷ hand-written peer", 2.2)}
READS: Final = "claim reads an event"
MOST_READS: Final = 1.05
"""One read of each claim by the worker, but for those that left its cache meanwhile."""

DELIVERIES: Final = 40_000
"""In a round, whatever the number of endpoints, unless told otherwise.

Enough that building 500 HTTP clients, 3 ms each, is not what is measured.
"""

EXCHANGE: Final = "oms"


def deliver(
    *,
    size: int,
    events: int,
    endpoints: int,
    prefetch: int,
    window: int,
    tls: bool,
    repeat: int,
    sides: Sequence[str],
    progress: Progress,
) -> Result:
    """Compare the sides in delivering ``events`` bodies of ``size`` bytes to each of ``endpoints`` endpoints.

    A rate counts from the first request at the sink to the last. Raises BenchmarkError when an endpoint did
    not get each event once, or a message was left unacknowledged: the figure would be void.
    """
    with tempfile.TemporaryDirectory() as folder, file_of_bodies(size) as bodies:
        program = limit.compiled("sink", Path(folder))

        def one_round(side: str) -> Outcome:
            with room() as servers, running_sink(program, paths=endpoints, tls=tls) as sink:
                order = Delivering(
                    sink=sink.url,
                    authority=str(sink.authority) if sink.authority else None,
                    endpoints=endpoints,
                    events=events,
                    bodies=str(bodies),
                    size=size,
                    prefetch=prefetch,
                    key_prefix=servers.key_prefix,
                    database=str(Path(folder) / f"{servers.key_prefix.rstrip(':')}.db"),
                )
                if side in LOADED_BY:
                    _load(side, order, servers, window)
                before = servers.claim_reads()
                outcome = run_side(side, order, servers)
                tally = check_arrived(side, order, sink, servers)
                reads = round((servers.claim_reads() - before) / events, 3)
            settings = outcome.settings | {READS: reads}
            count, seconds = sum(tally.counts), tally.last - tally.first
            return replace(outcome, count=count, seconds=seconds, settings=settings)

        outcomes = interleaved(sides, repeat, one_round, progress)
    compared = {"vs_bare": (LIMIT,), "vs_best_peer": PEERS}
    result = Result("deliver", "deliveries/s", size, PRODUCT, outcomes, compared, of(endpoints))
    result.check_alike((PRODUCT, *PEERS))
    return result


def report(results: Mapping[int, Result]) -> Report:
    """Return the report of the results, by the number of endpoints."""
    targets, reads = [], []
    for endpoints, result in results.items():
        ratios, product = result.ratios(), result.outcomes.get(PRODUCT, ())
        targets += [
            Target(f"{of(endpoints)}, {words}", bound, ratios[name])
            for name, (words, bound) in TARGETS.items()
        ]
        if product:
            read = median(float(outcome.settings[READS]) for outcome in product)
            reads.append((str(endpoints), read))
            targets.append(Target(f"{of(endpoints)}, {READS}", MOST_READS, read, at_most=True))
    bars = [
        chart.Bar(one.what, one.measured, one.bound)
        for one in targets
        if one.measured is not None and not one.at_most
    ]
    first, *others = ({"endpoints": endpoints, **result.document()} for endpoints, result in results.items())
    return Report(
        name="deliver",
        sheets=[
            *(result.sheet() for result in results.values()),
            Sheet("reads of claims in Redis", ("endpoints", READS), reads),
        ],
        chart=chart.bars(
            "Delivering: claimbus ÷ the others", "times as many a second (stroke: target)", bars
        ),
        targets=targets,
        notes=list(next(iter(results.values())).settings()),
        document={**first, "other_endpoints": others},
    )


def of(endpoints: int) -> str:
    """Return the number with its noun."""
    return "1 endpoint" if endpoints == 1 else f"{endpoints} endpoints"


def check_arrived(side: str, order: Delivering, sink: Sink, servers: Room) -> Tally:
    """Return the sink's tally. Raises BenchmarkError unless everything arrived once and was acknowledged."""
    tally = sink.tally()
    left = servers.purge(servers.queues("endpoint."))
    if set(tally.counts) != {order.events} or tally.bytes != sum(tally.counts) * order.size or left:
        raise BenchmarkError(
            f"void: {side} delivered {min(tally.counts)} to {max(tally.counts)} of {order.events} events "
            f"to an endpoint, {tally.bytes} bytes in all, and left {left} in the queues"
        )
    return tally


def _load(side: str, order: Delivering, servers: Room, window: int) -> None:
    if side == PRODUCT:
        run_side("provision_claimbus", order, servers)
    else:
        queues = [order.queue(number) for number in range(order.endpoints)]
        servers.declare(EXCHANGE, queues, f"{EXCHANGE}.#.all")
    load = Publishing(
        exchange=EXCHANGE,
        routing_key=f"{TYPE}.all",
        type=TYPE,
        bodies=order.bodies,
        size=order.size,
        events=order.events,
        seconds=600,
        window=window,
        key_prefix=order.key_prefix,
    )
    run_side(LOADED_BY[side], load, servers)
