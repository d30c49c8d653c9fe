"""A process of the demo's, with a log of its own, that never outlives the demo."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from claimbus.cli.services.guard import guarded

GRACE: Final = 10.0
"""Seconds that a process has for ending after it was told to."""

LONGEST_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line that comes by a pipe."""

LAST_LINES: Final = 10


@asynccontextmanager
async def child(
    command: Sequence[str], directory: Path, name: str, environment: Mapping[str, str], *, piped: bool = False
) -> AsyncIterator[Process]:
    """Run a command in ``directory``; it is ended with the context, by SIGTERM, later by SIGKILL.

    ``NAME.log`` and ``NAME.pid`` there have what it says and which process it is. ``piped``: its standard
    input and output are pipes to us, and the end of its input tells it to end.
    """
    with (directory / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *guarded(list(command), directory / f"{name}.pid"),
            stdin=PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=PIPE if piped else log,
            stderr=log,
            limit=LONGEST_LINE,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,  # a Ctrl-C in the terminal is for the demo, which ends its processes
        )
    try:
        yield process
    finally:
        await end(process)


async def end(process: Process) -> None:
    """Have a guarded process end, and wait until it has."""
    if process.returncode is not None:
        return
    if process.stdin is not None:
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except BaseException as late:
        process.send_signal(signal.SIGQUIT)  # which kills all that is guarded
        if not isinstance(late, TimeoutError):
            raise
        await process.wait()


def work(processes: int = 1) -> list[str]:
    """Return the command that runs workers."""
    return [sys.executable, "-m", "claimbus", "work", "--processes", str(processes)]


def last_words(directory: Path, name: str) -> str:
    """Return where a process's log is, and its last lines."""
    log = directory / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n  ".join([f"The end of {log}:", *lines])
