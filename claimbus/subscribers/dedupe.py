"""Which events were taken already: one SQLite file, for one process at a time."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers.errors import SinkError
from claimbus.subscribers.private import make_directory, make_file
from claimbus.subscribers.received import Received

RETENTION: Final = timedelta(days=45)
"""Longer than the ISO keeps what it could not deliver (30 days, and 3 for a replay's own attempts)."""
LATEST_RETENTION: Final = timedelta(days=400)
"""An outage may stay quiet for long, and a dead letter of it be replayed then."""

_LAYOUT: Final = 1
_PURGE_EVERY: Final = 1000
"""Events between two looks for what is past retention."""

_CREATE: Final = """
CREATE TABLE seen (message_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);
CREATE TABLE latest (
    source TEXT, partitionkey TEXT, sequence INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (source, partitionkey)
) WITHOUT ROWID;
"""


class Dedupe:
    """What was taken, on disk before `done` returns, whatever is killed then, the machine included.

    Its methods block (`done` for a write to disk) and may be called from any thread. They raise SinkError
    when the file cannot be read or written.
    """

    def __init__(
        self, file: Path, *, retention: timedelta = RETENTION, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the file, or make it; ``clock`` gives seconds since the epoch.

        Raises ConfigurationError when the file is unusable or in use.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._retention = int(retention.total_seconds())
        self._until_purge = 0
        try:
            make_directory(file.parent)
            make_file(file)  # SQLite gives the files beside it the same mode
            self._database = sqlite3.connect(file, timeout=1.0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as wrong:
            raise ConfigurationError("state", f"{file}: {wrong}") from wrong
        try:
            self._prepare(file)
        except sqlite3.Error as wrong:
            self._database.close()
            in_use = "locked" in str(wrong)
            used = "another process uses it; each needs a file of its own"
            reason = used if in_use else f"is no state of ours: {wrong}"
            raise ConfigurationError("state", f"{file}: {reason}") from wrong

    def _prepare(self, file: Path) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")  # before WAL: then it holds for as long as the file is open
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        (layout,) = run("PRAGMA user_version").fetchone()
        if layout == 0:
            self._database.executescript(
                f"BEGIN EXCLUSIVE; {_CREATE} PRAGMA user_version = {_LAYOUT}; COMMIT;"
            )
        elif layout != _LAYOUT:
            self._database.close()
            raise ConfigurationError("state", f"{file}: is of another version of claimbus ({layout})")

    def seen(self, message_id: str) -> bool:
        """Tell whether this event was taken."""
        with self._asking() as run:
            return run("SELECT 1 FROM seen WHERE message_id = ?", (message_id,)).fetchone() is not None

    def stale(self, event: Received) -> bool:
        """Tell whether a newer version of the same outage was taken."""
        if not event.has_versions:
            return False
        with self._asking() as run:
            newest = run(
                "SELECT sequence FROM latest WHERE source = ? AND partitionkey = ?",
                (event.source, event.partitionkey),
            ).fetchone()
        return newest is not None and newest[0] > event.sequence

    def done(self, event: Received) -> None:
        """Note that an event was taken: it is a duplicate from now on."""
        now = int(self._clock())
        with self._asking() as run:
            run("BEGIN IMMEDIATE")
            run(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
                (event.message_id, now),
            )
            if event.has_versions:
                run(
                    "INSERT INTO latest VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET sequence = max(sequence, excluded.sequence), at = excluded.at",
                    (event.source, event.partitionkey, event.sequence, now),
                )
            if self._until_purge <= 0:
                self._until_purge = _PURGE_EVERY
                run("DELETE FROM seen WHERE at < ?", (now - self._retention,))
                run("DELETE FROM latest WHERE at < ?", (now - int(LATEST_RETENTION.total_seconds()),))
            run("COMMIT")
            self._until_purge -= 1

    def forget(self, message_id: str) -> None:
        """Take `done` back: the event shall be taken when it comes again."""
        with self._asking() as run:
            run("DELETE FROM seen WHERE message_id = ?", (message_id,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _asking(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._lock:
            try:
                yield self._database.execute
            except sqlite3.Error as wrong:
                if self._database.in_transaction:
                    self._database.rollback()
                raise SinkError(f"the state cannot be kept: {wrong}") from wrong

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
