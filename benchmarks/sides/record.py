"""Records attempts as a worker does: through its recorder, as many at a time as a busy worker has."""

import asyncio
import time
from functools import partial
from typing import Final

from benchmarks.rows import delivered
from benchmarks.side import Keeping, Outcome, Stopwatch, play, side_by_side
from claimbus.database.engine import Database
from consumers.recorder import Recorder

ENDPOINTS: Final = 50


async def record(order: Keeping) -> Outcome:
    """Record ``letters`` attempts, ``window`` of them waiting for their commit at a time."""
    loop, numbers = asyncio.get_running_loop(), iter(range(order.letters))
    with Database.open(order.database) as database:
        recorder = Recorder(database)
        running = asyncio.create_task(recorder.run())

        async def one_by_one() -> None:
            for number in numbers:
                recorded = loop.create_future()
                attempt = delivered(
                    number,
                    endpoint=f"ep_{number % ENDPOINTS}",
                    participant="PGAE",
                    started_ms=int(time.time() * 1000),
                )
                recorder.record(attempt, partial(recorded.set_result, None))
                await recorded

        watch = Stopwatch()
        await side_by_side(order.window, one_by_one)
        outcome = watch.outcome(
            order.letters, window=order.window, delivery="each batch committed and synced"
        )
        recorder.close()
        await running
    return outcome


if __name__ == "__main__":
    play(Keeping, record)
