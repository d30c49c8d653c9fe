"""The processes of a house: started, killed, stopped and continued by their IDs, never outliving it."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

from claimbus.cli.demo.child import child, end, last_words

READY_WITHIN = 45.0


class ProcessFailedError(Exception):
    """A process of the house ended that should run, or did not become ready."""


class Processes:
    """By name. ``NAME.log`` in the directory has what each has said over all its lives."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._running: dict[str, tuple[Process, AbstractAsyncContextManager[Process]]] = {}

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str,
        piped: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a process that does not run, and wait until it has said ``ready`` in its log.

        ``environment``: what differs for it.
        """
        if name in self._running:
            await self.ended(name)
        log, pid_file = self._directory / f"{name}.log", self._directory / f"{name}.pid"
        said = log.stat().st_size if log.exists() else 0
        pid_file.unlink(missing_ok=True)
        its = {**self._environment, **(environment or {})}
        context = child(command, self._directory, name, its, piped=piped)
        process = await context.__aenter__()
        self._running[name] = process, context
        deadline = time.monotonic() + READY_WITHIN
        while not (pid_file.exists() and pid_file.read_text() and self._said(log, said, ready)):
            if process.returncode is not None or time.monotonic() > deadline:
                raise ProcessFailedError(f"{name} is not ready. {last_words(self._directory, name)}")
            await asyncio.sleep(0.05)
        return process

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a running process a signal; one that has just ended needs none."""
        if name in self._running and self._running[name][0].returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid(name), number)

    def pid(self, name: str) -> int:
        """The process's own ID, not its guard's."""
        return int((self._directory / f"{name}.pid").read_text())

    async def ended(self, name: str, within: float = 60.0) -> int:
        """Wait until a process has ended by itself; its exit code, 137 when it was killed."""
        process, context = self._running[name]
        try:
            async with asyncio.timeout(within):
                code = await process.wait()
        except TimeoutError as late:
            raise ProcessFailedError(f"{name} has not ended within {within:.0f} s") from late
        del self._running[name]
        await context.__aexit__(None, None, None)
        return code

    async def stop(self, *names: str) -> None:
        """End processes in order, side by side."""
        going = [self._running.pop(name)[1] for name in names if name in self._running]
        await asyncio.gather(*(context.__aexit__(None, None, None) for context in going))

    def runs(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        return name in self._running and self._running[name][0].returncode is None

    def dead(self) -> list[str]:
        """The names of those that have ended although nobody stopped them."""
        return [name for name, (process, _) in self._running.items() if process.returncode is not None]

    async def aclose(self) -> None:
        """End all; those whose end nobody waits for are killed."""
        for name, (process, _) in self._running.items():
            if process.returncode is None and process.stdin is None:
                self.send(name, signal.SIGCONT)
                self.send(name, signal.SIGKILL)
        running, self._running = self._running, {}
        await asyncio.gather(*(end(process) for process, _ in running.values()), return_exceptions=True)

    @staticmethod
    def _said(log: Path, since: int, words: str) -> bool:
        with log.open("rb") as file:
            file.seek(since)
            return words.encode() in file.read()
