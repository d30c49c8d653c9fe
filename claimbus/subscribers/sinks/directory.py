"""``--dir``: one file an event, each exactly once whatever is killed."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Final

import orjson

from claimbus.events.errors import ConfigurationError
from claimbus.events.event import format_time
from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.errors import SinkError
from claimbus.subscribers.private import make_directory, opener
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Done, Sink

SIDECAR: Final = ".event"
"""The suffix of sidecars, which are JSON. No body has it, so ``*.json`` finds bodies only."""

STAGE: Final = ".incoming"
"""The subdirectory where files are written, before they are moved out whole."""

_SUFFIXES: Final = {
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/xml": ".xml",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/xml": ".xml",
}


class DirectorySink(Sink):
    """Exactly once.

    An event, of message ID ``evt_X``, becomes its body, ``evt_X.json`` (or ``.xml``, ``.csv``, …), and then
    its sidecar, ``evt_X.event``: JSON with the attributes and, as ``body``, the name of the body's file. When
    the sidecar is there, both are there, whole. A body that must be fetched has no file; the sidecar has its
    ``dataref``.

    First both files are written to the stage and flushed to disk, then the dedupe notes the event, then they
    are moved out. So the note decides: at the start, what is on the stage is moved out if it is noted, and
    removed if not, and will come again. Who takes files away gets none of them twice.

    The files (0600), and directories that it makes (0700), are for their owner alone.
    """

    def __init__(self, directory: Path, dedupe: Dedupe) -> None:
        """Make the directory if need be, and finish what a crash has left. Raises ConfigurationError."""
        self._directory = directory
        self._stage = directory / STAGE
        self._dedupe = dedupe
        self._flushing = ThreadPoolExecutor(3, "flush")
        try:
            make_directory(self._stage)
            self._recover()
        except OSError as wrong:
            raise ConfigurationError("dir", f"{directory}: {wrong.strerror}") from wrong

    @contextmanager
    def room(self) -> Iterator[IO[bytes]]:
        """Give a file on the stage, which needs no copy then."""
        with NamedTemporaryFile(dir=self._stage, delete=False) as file:
            try:
                yield file
            finally:
                try:
                    file.close()
                finally:
                    Path(file.name).unlink(missing_ok=True)

    async def take(self, event: Received, done: Done) -> None:
        """Write the event's files."""
        try:
            names = await asyncio.to_thread(self._write, event)
            await done()
            await asyncio.to_thread(self._move_noted, event.message_id, names)
        except OSError as failed:
            raise SinkError(f"{self._directory}: {failed.strerror}") from failed

    async def aclose(self) -> None:
        """End the threads."""
        self._flushing.shutdown()

    def _write(self, event: Received) -> list[str]:
        """Write an event's files on the stage, and through to the disk; returns their names, sidecar last.

        Nothing is left of them when that fails: a full disk must not get fuller.
        """
        body, contents = None, dict[str, bytes | IO[bytes]]()
        content = event.body if event.file is None else event.file
        if content is not None:
            body = event.message_id + suffix(event.datacontenttype)
            contents[body] = content
        contents[event.message_id + SIDECAR] = _sidecar(event, body)
        try:
            self._write_through({self._stage / name: contents[name] for name in contents})
        except OSError:
            for name in contents:
                with suppress(OSError):
                    (self._stage / name).unlink()
            raise
        return list(contents)

    def _write_through(self, contents: Mapping[Path, bytes | IO[bytes]]) -> None:
        with ExitStack() as opened:
            files = [opened.enter_context(_written(path, content)) for path, content in contents.items()]
            descriptors = [file.fileno() for file in files]
            if os.name == "posix":  # where names are to be flushed too; Windows does it with the files
                descriptors.append(os.open(self._stage, os.O_RDONLY))
                opened.callback(os.close, descriptors[-1])
            # Side by side, since file systems then write their journal once for all: a fifth of the time.
            list(self._flushing.map(os.fsync, descriptors))

    def _move_noted(self, message_id: str, names: list[str]) -> None:
        try:
            self._move(names)
        except OSError:
            self._dedupe.forget(message_id)
            raise

    def _move(self, names: list[str]) -> None:
        for name in names:
            (self._stage / name).replace(self._directory / name)

    def _recover(self) -> None:
        for sidecar in sorted(self._stage.glob(f"*{SIDECAR}")):
            found = _read(sidecar)
            if found is not None and self._dedupe.seen(found["message_id"]):
                body = found["body"]
                names = [body] if body is not None and (self._stage / body).exists() else []
                self._move([*names, sidecar.name])
        for left in self._stage.iterdir():
            left.unlink()


def suffix(content_type: str) -> str:
    """Return the suffix of a body's file: ``.bin`` when nothing fits better."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence.endswith(("+json", "+xml")):
        return f".{essence.rpartition('+')[2]}"
    return _SUFFIXES.get(essence, ".bin")


def _sidecar(event: Received, body: str | None) -> bytes:
    found = {
        "message_id": event.message_id,
        "attempt": event.attempt,
        "replay": event.replay,
        "received": format_time(datetime.now(UTC)),
        "event": dict(event.attributes),
        "body": body,
        "dataref": event.dataref,
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _read(sidecar: Path) -> dict[str, Any] | None:
    """Return a sidecar's content; None when it was not written whole, so it is not noted either."""
    try:
        found: dict[str, Any] = orjson.loads(sidecar.read_bytes())
    except orjson.JSONDecodeError:
        return None
    return found


def _written(file: Path, content: bytes | IO[bytes]) -> IO[bytes]:
    """Return a new file, open, with its content on the way to the disk; another file becomes it."""
    if not isinstance(content, bytes):
        content.close()  # or Windows would not rename it
        Path(content.name).replace(file)
        return file.open("r+b")
    opened = open(file, "wb", opener=opener)  # noqa: SIM115 - the caller's to close
    try:
        opened.write(content)
        opened.flush()
    except BaseException:
        opened.close()
        raise
    return opened
