"""A worker of claimbus that works until its input ends; it says when it is ready, and how long that took."""

import asyncio
import json
import sys
import time
from importlib.metadata import version

from benchmarks.product import settings
from benchmarks.side import Delivering, Outcome, Stopwatch, play
from claimbus.cli.logs import configure_logs
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.worker import open_worker
from consumers.metrics import Metrics


async def work(order: Delivering) -> Outcome:
    configured = settings(order)
    configure_logs(configured.log_level, configured.log_format)
    stop, metrics, begun = asyncio.Event(), Metrics(), time.monotonic()

    def ready() -> None:
        print(json.dumps({"start_seconds": time.monotonic() - begun}), flush=True)

    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    async with Wiring(configured) as wiring:
        worker = await open_worker(wiring, metrics)
        watch = Stopwatch()
        await worker.run(stop, ready=ready)
        delivered = metrics.registry.get_sample_value("claimbus_attempts_total", {"verdict": "delivered"})
        return watch.outcome(int(delivered or 0), client=f"claimbus {version('claimbus')}, uvloop")


if __name__ == "__main__":
    play(Delivering, work)
