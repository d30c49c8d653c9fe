"""What ``receive`` and ``subscribe`` have in common: where events go, and how each goes there only once."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from claimbus.cli.logs import Format, Level
from claimbus.cli.options import duration
from claimbus.events.errors import ConfigurationError
from claimbus.subscribers.claims import Claims
from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.inbox import Inbox
from claimbus.subscribers.sinks import CommandSink, DirectorySink, ForwardSink, Sink, StandardOutputSink

Exec = Annotated[
    str | None,
    typer.Option(
        "--exec",
        metavar="COMMAND",
        help="Run it for each event: body on stdin, CE_TYPE and so on in its environment.",
    ),
]
Shell = Annotated[
    bool, typer.Option("--shell", help="Give the command to the shell, for pipes and the like.")
]
Dir = Annotated[
    Path | None, typer.Option("--dir", metavar="PATH", help="Write each event to a file there, exactly once.")
]
Forward = Annotated[
    str | None,
    typer.Option("--forward", metavar="URL", help="Post each event on, with its headers; 2xx takes it."),
]
Cert = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Our certificate with its chain (PEM); renewals are noticed."),
]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, if not in the same file.")]
ForwardCa = Annotated[
    Path | None,
    typer.Option(
        "--forward-ca", metavar="FILE", help="Authorities (PEM) of that server, besides the system's."
    ),
]
Token = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="A bearer token, beside a certificate or without."),
]
MaxBody = Annotated[int, typer.Option("--max-body", metavar="BYTES", min=1, help="Refuse larger bodies.")]
Stdout = Annotated[bool, typer.Option("--stdout", help="Print each event as a line of JSON.")]
Within = Annotated[
    timedelta,
    typer.Option(
        "--within",
        parser=duration,
        metavar="TIME",
        help="How long --exec and --forward may take for an event.",
    ),
]
Latest = Annotated[
    bool, typer.Option("--latest", help="Leave out the status of an outage when a newer one was taken.")
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Where to note what was taken. Default: .claimbus.db in --dir, else claimbus-taken.db.",
    ),
]
LogLevel = Annotated[
    Level, typer.Option("--log-level", envvar="CLAIMBUS_LOG_LEVEL", help="Least that is logged.")
]
LogFormat = Annotated[
    Format, typer.Option("--log-format", envvar="CLAIMBUS_LOG_FORMAT", help="auto is console on a terminal.")
]

WITHIN: Final = timedelta(seconds=10)
"""Of ``--within``: less than the 15 s that the ISO waits for a webhook's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkChoice:
    """The options of one command. Raises typer.BadParameter unless they name one sink."""

    command: str | None
    shell: bool
    directory: Path | None
    forward: str | None
    forward_ca: Path | None
    stdout: bool
    within: timedelta
    latest: bool
    state: Path | None

    def __post_init__(self) -> None:
        named = [self.command is not None, self.directory is not None, self.forward is not None, self.stdout]
        if sum(named) != 1:
            raise typer.BadParameter("say where events go: one of --exec, --dir, --forward, --stdout")

    @asynccontextmanager
    async def inbox(self, claims: Claims | None = None) -> AsyncIterator[Inbox]:
        """Open the sink behind an inbox, which SIGTERM, SIGINT and the end of the block stop.

        With ``claims``, bodies that did not come with their events are fetched. The event in work is finished
        in any case. Raises ConfigurationError.
        """
        dedupe = Dedupe(self._state_file())
        try:
            sink = self._sink(dedupe)
        except BaseException:
            dedupe.close()
            raise
        inbox = Inbox(sink, dedupe, latest=self.latest, claims=claims)
        with _told_by_signals(inbox.stop):
            try:
                yield inbox
            finally:
                await inbox.aclose()

    def _state_file(self) -> Path:
        if self.state is not None:
            return self.state
        return Path("claimbus-taken.db") if self.directory is None else self.directory / ".claimbus.db"

    def _sink(self, dedupe: Dedupe) -> Sink:
        seconds = self.within.total_seconds()
        if self.command is not None:
            return CommandSink(self._words(self.command), environment=_environment(), timeout=seconds)
        if self.directory is not None:
            return DirectorySink(self.directory, dedupe)
        if self.forward is not None:
            ca_pem = None if self.forward_ca is None else read("--forward-ca", self.forward_ca).encode()
            return ForwardSink(self.forward, timeout=seconds, ca_pem=ca_pem)
        return StandardOutputSink()

    def _words(self, command: str) -> list[str]:
        if self.shell:
            return ["/bin/sh", "-c", command] if os.name == "posix" else ["cmd", "/c", command]
        try:
            words = shlex.split(command, posix=os.name == "posix")
        except ValueError as wrong:
            raise ConfigurationError("--exec", str(wrong)) from wrong
        if not words or shutil.which(words[0]) is None:
            raise ConfigurationError("--exec", f"{command!r}: there is no such program")
        return words


def read(option: str, file: Path) -> str:
    """Return an option's text file. Raises ConfigurationError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigurationError(option, f"{file}: cannot be read: {wrong}") from wrong


def token(file: Path | None) -> str | None:
    """Return the token of ``--token-file``. Raises ConfigurationError."""
    return None if file is None else read("--token-file", file).strip()


def _environment() -> dict[str, str]:
    """Return what a command may know of our environment: all but what is meant for us, secrets among it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}


@contextmanager
def _told_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` in the event loop on a signal to end; on Windows the loop has no handlers of its own."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)

    def told(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, told) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
