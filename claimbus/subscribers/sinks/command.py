"""``--exec``: a command an event, with the body on its standard input."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from tempfile import TemporaryFile
from typing import IO, Final

import structlog

from claimbus.subscribers.errors import SinkError
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Done, Sink

MAX_OUTPUT: Final = 65_536
"""Bytes of a command's output that are logged, from its beginning."""
MAX_LINE: Final = 2_000
"""Bytes of a line of it."""

_log: Final = structlog.get_logger("claimbus.subscribers.command")


class CommandSink(Sink):
    """At least once: after a kill the event in work comes again.

    The command gets the body on standard input and the attributes in its environment: ``CE_ID``, ``CE_TYPE``
    and so on (``CE_DATAREF`` for a body that must be fetched), ``CLAIMBUS_MESSAGE_ID``, ``CLAIMBUS_ATTEMPT``,
    ``CLAIMBUS_REPLAY``. Exit code 0 means taken. What it printed goes to our log, line by line, at its end.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], timeout: float) -> None:
        """``environment`` is what the command finds besides; after ``timeout`` seconds it is killed.

        No shell is involved unless the command is one.
        """
        self._command = tuple(command)
        self._environment = dict(environment)
        self._timeout = timeout

    async def take(self, event: Received, done: Done) -> None:
        """Run the command."""
        # Files rather than pipes: what the command leaves running may hold a pipe open for ever.
        try:
            with ExitStack() as opened:
                body, output = event.file, opened.enter_context(TemporaryFile())
                if body is None:
                    body = opened.enter_context(TemporaryFile())
                    await asyncio.to_thread(_fill, body, event.body or b"")
                try:
                    code = await self._run(body, output, variables(event))
                finally:
                    await asyncio.to_thread(_log_lines, output, event.message_id)
        except OSError as wrong:
            raise SinkError(f"temporary files: {wrong}") from wrong
        if code != 0:
            raise SinkError(f"{self._command[0]}: exit code {code}")
        await done()

    async def aclose(self) -> None:
        """Nothing is held between two events."""

    async def _run(self, body: IO[bytes], output: IO[bytes], known: dict[str, str]) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=body,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment | known,
                start_new_session=True,  # a Ctrl-C is for us, and lets the command finish
            )
        except (OSError, ValueError) as wrong:
            raise SinkError(f"{self._command[0]}: cannot be run: {wrong}") from wrong
        try:
            return await asyncio.wait_for(process.wait(), self._timeout)
        except TimeoutError as late:
            raise SinkError(f"{self._command[0]}: not done within {self._timeout:g} s, killed") from late
        finally:
            if process.returncode is None:
                _kill(process)
                await process.wait()


def variables(event: Received) -> dict[str, str]:
    """Return an event's environment variables."""
    found = {f"CE_{name.upper()}": value for name, value in event.attributes.items()}
    if event.dataref is not None:
        found["CE_DATAREF"] = event.dataref
    found["CLAIMBUS_MESSAGE_ID"] = event.message_id
    found["CLAIMBUS_ATTEMPT"] = str(event.attempt)
    if event.replay is not None:
        found["CLAIMBUS_REPLAY"] = event.replay
    return found


def _fill(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.seek(0)


def _log_lines(output: IO[bytes], message_id: str) -> None:
    output.seek(0)
    for line in output.read(MAX_OUTPUT).splitlines():
        if text := line[:MAX_LINE].decode(errors="replace").rstrip():
            _log.info("command says", message_id=message_id, output=text)


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the command with what it started."""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
