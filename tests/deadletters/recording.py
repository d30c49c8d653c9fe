"""A recorder that kills itself at a point.

``python -m tests.deadletters.recording POINT AMQP_URL REDIS_URL PREFIX DATABASE_URL``
"""

import asyncio
import functools
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Delivery
from claimbus.database import kept
from claimbus.database.engine import Database
from claimbus.deadletters import recorder
from claimbus.deadletters.copies import Copies
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.recorder import Recorder
from claimstore.store import ClaimStore
from tests.deadletters.backlog import BUDGET

T = TypeVar("T")

POINTS: dict[str, tuple[Any, str, Callable[[Any, int], object]]] = {
    "amid the chunks": (kept, "write_chunk", lambda _, calls: calls == 3),
    "after the chunks": (Copies, "_take", lambda copy, _: copy.chunks),
    "after the copies": (Copies, "take", lambda copies, _: copies),
    "before the commit": (recorder, "_write", lambda _, calls: calls == 1),
    "before the ack": (Delivery, "ack", lambda _, calls: calls == 1),
}
"""After which function, given its result and the number of its calls, the process is killed.

Acks leave when the event loop's turn ends: one that was only called was not sent.
"""


def arm(point: str) -> None:
    owner, name, is_reached = POINTS[point]
    work, calls = getattr(owner, name), itertools.count(1)

    def judge(result: T) -> T:
        if is_reached(result, next(calls)):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    @functools.wraps(work)
    async def awaited(*args: object, **named: object) -> object:
        return judge(await work(*args, **named))

    @functools.wraps(work)
    def called(*args: object, **named: object) -> object:
        return judge(work(*args, **named))

    setattr(owner, name, awaited if inspect.iscoroutinefunction(work) else called)


async def main(point: str, amqp_url: str, redis_url: str, prefix: str, database_url: str) -> None:
    arm(point)
    connection = await Connection.open(amqp_url, name="recorder to be killed")
    metrics = LettersMetrics(CollectorRegistry())
    async with await ClaimStore.open(redis_url, prefix=prefix) as store:
        with Database.open(database_url) as database:
            await Recorder(connection, store, database, budget=BUDGET, metrics=metrics).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
