"""Large bodies: the memory that they take in the producer, the worker and the servers.

Beside it what the same bodies take on the message. Memory is each process's peak less what it had before the
first body; the servers keep the bodies until they are delivered, so theirs grow with the number of bodies.
"""

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import chart, limit
from benchmarks.bodies import TYPE
from benchmarks.deliver import EXCHANGE, check_arrived
from benchmarks.memory import watched
from benchmarks.report import Report, Sheet, Target
from benchmarks.runner import Progress, run_side
from benchmarks.servers import room
from benchmarks.side import Delivering, Outcome, Publishing
from benchmarks.sink import running_sink

MIB: Final = 1 << 20
ALLOWED: Final = 64
"""MiB by which our processes may grow, however large the bodies."""

PRODUCT: Final = "claimbus"
PEER: Final = "aio_pika"
SIDES: Final = (PRODUCT, PEER)
PUBLISHED_BY: Final = {PRODUCT: "publish_large", PEER: "publish_aio_pika"}
PROCESSES: Final = ("producer", "worker", "RabbitMQ", "Redis")
IN_ALL: Final = 64 * MIB
"""Bytes of all bodies of a round, but for two bodies at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What ``events`` bodies of ``size`` bytes took: MiB by process, as far as it could be seen."""

    side: str
    size: int
    events: int
    published: Outcome
    delivered: Outcome
    grown: Mapping[str, float]


def large(
    *, sizes: Sequence[int], endpoints: int, prefetch: int, sides: Sequence[str], progress: Progress
) -> Report:
    """Publish bodies of each size to all endpoints, then deliver them."""
    found = []
    for size in sizes:
        for side in sides:
            progress(f"{size // MIB} MiB: {side}")
            found.append(_grown(side, size, endpoints=endpoints, prefetch=prefetch))
    return _report(found)


def _grown(side: str, size: int, *, endpoints: int, prefetch: int) -> Growth:
    events = max(2, IN_ALL // size)
    with tempfile.TemporaryDirectory() as folder, room() as servers:
        body = Path(folder) / "body"
        body.write_bytes(base64.b64encode(os.urandom(size))[:size])  # text, for the peer signs it as such
        with (
            running_sink(limit.compiled("sink", Path(folder)), paths=endpoints) as sink,
            watched(servers.process_ids()) as peaks,
        ):
            delivering = Delivering(
                sink=sink.url,
                authority=None,
                endpoints=endpoints,
                events=events,
                bodies=str(body),
                size=size,
                prefetch=prefetch,
                key_prefix=servers.key_prefix,
                database=str(Path(folder) / "claimbus.db"),
            )
            publishing = Publishing(
                exchange=EXCHANGE,
                routing_key=f"{TYPE}.all",
                type=TYPE,
                bodies=str(body),
                size=size,
                events=events,
                seconds=600,
                window=1,
                key_prefix=servers.key_prefix,
            )
            if side == PRODUCT:
                run_side("provision_claimbus", delivering, servers)
            else:
                queues = [delivering.queue(number) for number in range(endpoints)]
                servers.declare(EXCHANGE, queues, f"{EXCHANGE}.#.all")
            published = run_side(PUBLISHED_BY[side], publishing, servers)
            delivered = run_side(f"deliver_{side}", delivering, servers)
            check_arrived(side, delivering, sink, servers)
        ours = {"producer": published.grown_bytes or 0, "worker": delivered.grown_bytes or 0}
        grown = {name: round(grown / MIB, 1) for name, grown in (ours | peaks.grown()).items()}
    return Growth(side=side, size=size, events=events, published=published, delivered=delivered, grown=grown)


def _report(found: Sequence[Growth]) -> Report:
    rows, targets = [], []
    lines: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        size = one.size // MIB
        rates = [round(done.count * one.size / done.seconds / MIB) for done in (one.published, one.delivered)]
        memory = [one.grown.get(process) for process in PROCESSES]
        rows.append((f"{one.side}, {size} MiB", one.events, *rates, *memory))
        for process, grown in one.grown.items():
            lines.setdefault(f"{one.side}: {process}", []).append((size, grown))
        if one.side == PRODUCT:
            targets += [
                Target(f"{process}, bodies of {size} MiB", ALLOWED, one.grown[process], at_most=True)
                for process in ("producer", "worker")
            ]
    columns = (
        "side",
        "bodies",
        "published MiB/s",
        "delivered MiB/s",
        *(f"{name} +MiB" for name in PROCESSES),
    )
    return Report(
        name="large",
        sheets=(Sheet("large bodies: memory", columns, rows),),
        chart=chart.lines("Memory that large bodies take", "MiB of a body", "MiB of memory more", lines),
        targets=targets,
        document={"grown_mib": {f"{one.side}, {one.size // MIB}": dict(one.grown) for one in found}},
    )
