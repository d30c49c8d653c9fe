"""A private server: started under a guard, waited for, ended, started again."""

# ruff: noqa: S603 - fixed programs with their arguments, never a shell's line

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self

from claimbus.cli.services.guard import guarded
from claimbus.events.errors import UnavailableError

# Below the range from which Linux takes the ports of outgoing connections: there, a client that keeps trying
# a stopped server's port ends up connected to itself, and the server cannot come back.
PORTS = range(20_000, 32_000)
LOG_TAIL = 60  # lines; RabbitMQ's crash reports stand between its reason and the end
LOG_WIDTH = 200  # characters


class ServicesError(UnavailableError):
    """A service that the project needs could not be found, installed or started."""


def free_ports(count: int) -> list[int]:
    """So many different TCP ports on which nobody listens on the loopback interface."""
    found: list[int] = []
    with ExitStack() as bound:
        while len(found) < count:
            port = random.choice(PORTS)  # noqa: S311 - a port is no secret
            candidate = bound.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def search_path() -> str:
    """``PATH``, and where Debian keeps its servers, which an ordinary user's ``PATH`` leaves out."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


class Server(ABC):
    """A server that ends with whoever started it, whatever becomes of them.

    Its data lies in ``directory`` (made if missing). Data and ports outlive ``stop``, ``kill`` and
    ``restart``. As a context it is started, and killed at the end. Whoever derives from it says what to run.
    """

    name: ClassVar[str]
    start_within: ClassVar[float]  # seconds
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self, directory: Path, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = directory / f"{self.name}.log"
        self.environment = {
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PATH": search_path(),
            **(environment or {}),
        }
        self._command = [str(word) for word in command]
        self._pid_file = directory / f"{self.name}.pid"
        self._guard: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers in its own protocol."""

    def start(self) -> Self:
        """Start the server and wait until it serves.

        Raises:
            ServicesError: It ended or did not become ready in time; with the end of its log.
        """
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        """Start the server without waiting for it."""
        self._pid_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                guarded(self._command, self._pid_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,  # a Ctrl-C in the terminal is not for servers
            )

    def wait(self) -> None:
        """Wait until the launched server serves; raises as ``start`` does."""
        deadline = time.monotonic() + self.start_within
        while not self.ready():
            if not self.running:
                raise ServicesError(f"{self.name} did not start. {self._last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServicesError(
                    f"{self.name} is not ready after {self.start_within:.0f} s. {self._last_words()}"
                )
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process, say for stopping and continuing it by signals."""
        return int(self._pid_file.read_text())

    def stop(self, *, within: float = 60.0) -> None:
        """Ask the server to end in order and wait for it; after ``within`` seconds kill it."""
        self._end(self.stop_signal, within)

    def kill(self) -> None:
        """End the server and all that it started by SIGKILL."""
        self._end(signal.SIGQUIT, None)

    def restart(self) -> Self:
        """Start the server again, after an orderly end if it still runs."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _end(self, told: signal.Signals, within: float | None) -> None:
        if self._guard is None:
            return
        self._guard.send_signal(told)
        try:
            self._guard.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "\n  ".join(["The end of its log:", *(line[:LOG_WIDTH] for line in lines)])
