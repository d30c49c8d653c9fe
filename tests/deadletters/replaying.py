"""A runner that kills itself at a point.

``python -m tests.deadletters.replaying POINT AMQP_URL REDIS_URL PREFIX DATABASE_URL``
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from claimbus.broker.publisher import Publisher
from claimbus.database import replays
from claimbus.database.engine import Database
from claimbus.deadletters import course, replay
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.replay import Runner
from claimbus.deadletters.sending import Sending
from claimstore.holds import Holds
from claimstore.store import ClaimStore
from tests.deadletters.stage import LIFE

BATCH = 100
LEASE = 0.1
WINDOW = 20
"""So many messages are unconfirmed at most; so many of a batch have not arrived when it is killed amid it."""

POINTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "before the publish": (Sending, "_publish", lambda call, *_: call == 2),
    "amid the publish": (Publisher, "send", lambda call, *_: call == BATCH + BATCH // 2),
    "before the mark": (replays, "mark_sent", lambda _, __, ___, positions: bool(positions)),
}
"""Before which call of which function the process is killed, by its number, from 1, and its arguments."""


def arm(patch: pytest.MonkeyPatch, point: str) -> None:
    owner, name, is_reached = POINTS[point]
    work, calls = getattr(owner, name), itertools.count(1)

    def armed(*args: object, **named: object) -> object:
        if is_reached(next(calls), *args):
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args, **named)

    patch.setattr(owner, name, armed)


async def main(point: str, amqp_url: str, redis_url: str, prefix: str, database_url: str) -> None:
    patch = pytest.MonkeyPatch()  # it stays until this process is killed
    arm(patch, point)
    patch.setattr(course, "BATCH", BATCH)
    patch.setattr(course, "LEASE", LEASE)
    patch.setattr(replay, "LEASE", LEASE)
    publisher = await Publisher.open(amqp_url, name="runner to be killed", window=WINDOW)
    metrics = LettersMetrics(CollectorRegistry())
    async with await ClaimStore.open(redis_url, prefix=prefix) as store:
        with Database.open(database_url) as database:
            holds = Holds(store.connection)
            await Runner(
                database, store, holds, publisher, name="killed", claim_life=LIFE, metrics=metrics
            ).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
