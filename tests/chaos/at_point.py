"""A process that kills itself at a point: ``python -m tests.chaos.at_point POINT NTH MODULE ARGUMENTS...``.

The product has no hooks: here, in the harness, one of its functions is wrapped before the module runs.
"""

import functools
import importlib
import inspect
import itertools
import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple


class Point(NamedTuple):
    """Before or after which function, ``module:Class.name`` or ``module:name``."""

    when: Literal["before", "after"]
    function: str
    counts: Callable[..., object] = lambda *_: True
    """Whether a call counts: told its arguments before it, or its result after it."""


POINTS: Final = {
    "after the check-in": Point("after", "claimstore.store:ClaimStore.check_in"),
    "after the confirm": Point("after", "claimbus.broker.publisher:Publisher.publish_ticket"),
    "before the outbox's mark": Point("before", "producers.outbox:Outbox.settle"),
    "after the change was won": Point("after", "claimstore.memory:OutageMemory.commit", bool),
    "before the change's mark": Point("before", "claimstore.memory:OutageMemory.done"),
    "after the POST": Point("after", "consumers.webhook:Webhook.post"),
    "after the row": Point("after", "consumers.recorder:Recorder._commit"),
    "after the retry": Point("after", "claimbus.broker.publisher:Publisher.publish_retry"),
    "after the copy": Point("after", "claimbus.deadletters.copies:Copies.take", bool),
    "after the letters' rows": Point("after", "claimbus.deadletters.recorder:_write"),
    "before the replay's publish": Point("before", "claimbus.deadletters.sending:Sending._publish"),
    "before the replay's mark": Point(
        "before", "claimbus.database.replays:mark_sent", lambda _sql, _id, positions, *_: positions
    ),
    "after the stream's row": Point("after", "claimbus.database.outcomes:record"),
    "before the subscriber's note": Point("before", "claimbus.subscribers.dedupe:Dedupe.done"),
    "after the subscriber's note": Point("after", "claimbus.subscribers.dedupe:Dedupe.done"),
}


def arm(point: Point, nth: int) -> None:
    """Have this process killed by the kernel at the point's n-th time."""
    module, _, path = point.function.partition(":")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    work, times = getattr(owner, name), itertools.count(1)

    def reached(*told: object) -> None:
        if point.counts(*told) and next(times) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(work)
    async def awaited(*args: object, **named: object) -> object:
        if point.when == "before":
            reached(*args)
        result = await work(*args, **named)
        if point.when == "after":
            reached(result)
        return result

    @functools.wraps(work)
    def called(*args: object, **named: object) -> object:
        if point.when == "before":
            reached(*args)
        result = work(*args, **named)
        if point.when == "after":
            reached(result)
        return result

    setattr(owner, name, awaited if inspect.iscoroutinefunction(work) else called)


if __name__ == "__main__":
    _, point, nth, module, *arguments = sys.argv
    arm(POINTS[point], int(nth))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
