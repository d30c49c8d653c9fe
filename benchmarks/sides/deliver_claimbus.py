"""Delivering with claimbus: one worker, each claim redeemed, each delivery signed, logged and recorded."""

import asyncio
from importlib.metadata import version

from benchmarks.product import concurrency, settings
from benchmarks.side import ACKNOWLEDGED, Delivering, Outcome, Stopwatch, play
from claimbus.cli.logs import configure_logs
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.worker import open_worker
from consumers.lane import TICKETS_PER_REQUEST
from consumers.metrics import Metrics


async def deliver(order: Delivering) -> Outcome:
    configured = settings(order)
    configure_logs(configured.log_level, configured.log_format)
    total = order.endpoints * order.events
    metrics, done = Metrics(), asyncio.Event()
    async with Wiring(configured) as wiring:
        worker = await open_worker(wiring, metrics)
        watch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(done))
            while _delivered(metrics) < total:  # noqa: ASYNC110 - a counter tells nobody
                await asyncio.sleep(0.05)
            done.set()
        return watch.outcome(
            total,
            client=f"claimbus {version('claimbus')}, uvloop",
            message="ticket, the body from Redis",
            prefetch=f"{concurrency(order) * TICKETS_PER_REQUEST} a queue",
            delivery=ACKNOWLEDGED,
            recorded="every attempt, in SQLite, before the acknowledgement",
        )


def _delivered(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("claimbus_attempts_total", {"verdict": "delivered"}) or 0


if __name__ == "__main__":
    play(Delivering, deliver)
