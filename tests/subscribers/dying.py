"""A receiver of events that kills itself: ``dying.py FOLDER SINK FIRST LAST POINT NTH``.

It hands the events of these numbers to an inbox as a daemon does and prints the number of each that it would
ack. When it comes to ``POINT`` for the ``NTH`` time it is gone.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog

from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.inbox import Inbox
from claimbus.subscribers.sinks import CommandSink, DirectorySink, directory
from tests.subscribers.sender import received

POINTS: dict[str, tuple[Any, str]] = {
    "half of a file is written": (directory, "_written"),
    "before the note": (Dedupe, "done"),
    "after the note": (Dedupe, "done"),
    "after a move": (Path, "replace"),
}


def main(*words: str) -> None:
    folder, sink, first, last, point, nth = words
    os.chdir(folder)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if point in POINTS:
        _die_at(point, int(nth))
    asyncio.run(_handle(sink, range(int(first), int(last) + 1)))


async def _handle(kind: str, numbers: range) -> None:
    dedupe = Dedupe(Path("taken.db"))
    if kind == "dir":
        inbox = Inbox(DirectorySink(Path("out"), dedupe), dedupe)
    else:
        command = ["/bin/sh", "-c", 'echo "$CE_ID" >> ran']
        inbox = Inbox(CommandSink(command, environment=os.environ, timeout=20), dedupe)
    for number in numbers:
        await inbox.handle(received(number))
        print(number, flush=True)
    await inbox.aclose()


def _die_at(point: str, nth: int) -> None:
    owner, name = POINTS[point]
    original = getattr(owner, name)
    times = 0

    def dying(*given: Any) -> Any:  # noqa: ANN401 - whatever the original takes and gives
        nonlocal times
        times += 1
        if times == nth and not point.startswith("after"):
            if point.startswith("half"):
                file, content = given
                file.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*given)
        if times == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    main(*sys.argv[1:])
