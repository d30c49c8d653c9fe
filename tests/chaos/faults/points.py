"""Processes killed at a named point of their work."""

import random

from tests.chaos.at_point import POINTS
from tests.chaos.fault import Fault, Inject, Part
from tests.chaos.house import House

KILLED = 137
"""What a guard makes of SIGKILL."""


def at(point: str, process: str, most: int) -> Inject:
    """Have a process killed when it comes to a point for the n-th time, n up to ``most``; start it again."""

    async def inject(house: House, chance: random.Random) -> None:
        house.kill(process)
        await house.start(process, at=point, nth=chance.randint(1, most))
        code = await house.ended(process)
        if code != KILLED:
            house.remark(f"{process} ended with {code}")
        await house.start(process)

    return inject


def fault(name: str, point: str, process: str, most: int, *parts: Part, short: bool = False) -> Fault:
    """A fault of this kind."""
    who = {"load": "the publisher", "worker-1": "a worker", "watcher": "the OMS watcher"}.get(
        process, f"the {process}"
    )
    assert point in POINTS
    return Fault(
        name, f"{who}, killed {point}", at(point, process, most), parts=frozenset(parts), short=short
    )


FAULTS = (
    fault("point-checked-in", "after the check-in", "load", 100),
    fault("point-confirmed", "after the confirm", "load", 100, short=True),
    fault("point-relayed", "before the outbox's mark", "relay", 5, "outbox", short=True),
    fault("point-change-won", "after the change was won", "watcher", 3, "watcher", short=True),
    fault("point-change-published", "before the change's mark", "watcher", 10, "watcher"),
    fault("point-posted", "after the POST", "worker-1", 100, short=True),
    fault("point-row", "after the row", "worker-1", 20),
    fault("point-retry", "after the retry", "worker-1", 3),
    fault("point-copied", "after the copy", "attendant", 3, short=True),
    fault("point-letter", "after the letters' rows", "attendant", 3),
    fault("point-stream-row", "after the stream's row", "portal", 10, "stream"),
    fault("point-before-note", "before the subscriber's note", "subscriber", 30, "stream"),
    fault("point-noted", "after the subscriber's note", "subscriber", 30, "stream"),
)
