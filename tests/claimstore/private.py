"""A Redis of the test's own, which it may stop, fill and kill."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from claimbus.cli.services.server import free_ports


class PrivateRedis:
    """A ``redis-server`` with its data in a folder, durable and without eviction unless told otherwise."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process ID while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def start(self, *settings: str) -> None:
        """Start it on its port, with what it has in its folder; it may take a moment until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is needed for tests that stop, fill and kill a Redis")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, *self.words(), *settings], stdout=log, stderr=log)

    def words(self) -> Sequence[str]:
        """What the program is told at every start."""
        return (
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
            *("--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0", *self._settings),
        )

    def wait(self, *, within: float = 15.0) -> None:
        """Return when it listens."""
        deadline = time.monotonic() + within
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def command(self, *words: str | int, timeout: float = 5.0) -> Any:  # noqa: ANN401  # what Redis answers
        """Ask it something over a connection of its own; texts come decoded, nothing else is made of them.

        Raises redis.RedisError.
        """
        with redis.Redis(port=self.port, protocol=2, decode_responses=True, socket_timeout=timeout) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP hangs it, SIGCONT lets it go on."""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Let it hang: its connections stay and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A port that nobody listens on, and no client is given: one of those might connect to itself."""
    [port] = free_ports(1)
    return port
