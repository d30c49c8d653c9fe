"""A durable outbox: a file that accepts events while RabbitMQ or Redis is away.

One SQLite file, in WAL mode with every commit synced. `Outbox.put` returns when the event is on the disk;
`producers.relay` publishes what waits, and takes an event out only after its confirm.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from claimbus.events.catalogue import admit
from claimbus.events.errors import ConfigurationError, UnavailableError
from claimbus.events.event import ALL, Event

MAX_BYTES: Final = 1 << 30
"""Bytes that the file may have; what does not fit any more is refused."""

_LOCK_TIMEOUT: Final = 10.0
_APPLICATION: Final = 0x636C6D62
"""SQLite's ``application_id`` of an outbox, "clmb": another program's file is not taken for one."""

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL,
  type TEXT NOT NULL,
  put_ms INTEGER NOT NULL,
  size INTEGER NOT NULL,
  reason TEXT,
  attributes TEXT NOT NULL,
  audience TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting ON events (number) WHERE reason IS NULL;
PRAGMA application_id = {_APPLICATION};
"""


class OutboxError(UnavailableError):
    """The outbox's file cannot be written or read at the moment."""


class OutboxFullError(OutboxError):
    """The outbox takes no more: it has reached its bound, or the disk is full."""


class OutboxBusyError(OutboxError):
    """Another relay of this outbox is at work; two would overtake each other."""


class Entry(NamedTuple):
    """An event in the outbox without its body, whose length is ``size``.

    ``number`` counts up from 1. ``put_ms`` is in milliseconds since the epoch. ``reason`` says why it can
    never be published; None while it waits.
    """

    number: int
    message_id: str
    type: str
    put_ms: int
    size: int
    reason: str | None


class Waiting(NamedTuple):
    """An event that waits, as it lies in the file."""

    number: int
    attributes: dict[str, str]
    audience: str | list[str]
    body: bytes

    @property
    def key(self) -> tuple[str, str | None]:
        """What must stay in order."""
        return self.attributes["source"], self.attributes.get("partitionkey")

    def event(self) -> Event:
        """Return the event as it was put."""
        audience = ALL if self.audience == ALL else frozenset(self.audience)
        return Event.from_attributes(self.attributes, self.body, audience)


class Outbox:
    """The events of one file. Any number of threads and processes may put; one at a time relays."""

    def __init__(self, file: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Open an outbox, made if it is not there.

        Raises ConfigurationError (``outbox``) for a file that is none or whose folder is not there, and
        OutboxError.
        """
        if not file.parent.is_dir():
            raise ConfigurationError("outbox", f"{file}: there is no folder {file.parent}; make it first")
        self.file = file
        self._lock = threading.Lock()
        with _translated(file):
            file.touch(mode=0o600)  # bodies are for few
            self._sql = sqlite3.connect(
                file, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        try:
            with _translated(file):
                self._prepare(max_bytes)
        except BaseException:
            self._sql.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._sql.close()

    def put(self, event: Event) -> None:
        """Accept an event; when this returns, it survives a power loss. Any thread may call it.

        Raises InvalidEventError for an event that breaks the catalogue, OutboxFullError and OutboxError.
        """
        event = admit(event)
        audience = ALL if event.audience == ALL else sorted(event.audience)
        row = (
            event.identity,
            event.type,
            time.time_ns() // 1_000_000,
            len(event.body),
            json.dumps(event.attributes()),
            json.dumps(audience),
            event.body,
        )
        with self._transaction() as sql:
            sql.execute(
                "INSERT INTO events (message_id, type, put_ms, size, attributes, audience, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def entries(self) -> list[Entry]:
        """Return what is in the outbox, oldest first."""
        with self._lock, _translated(self.file):
            columns = ", ".join(Entry._fields)
            rows = self._sql.execute(f"SELECT {columns} FROM events ORDER BY number")  # noqa: S608 - our own
            return [Entry(*row) for row in rows]

    def oldest(self, *, count: int, size: int) -> list[Waiting]:
        """Return the oldest events that wait: at most ``count``, their bodies at most ``size`` bytes.

        One is returned however large it is.
        """
        with self._lock, _translated(self.file):
            sizes = self._sql.execute(
                "SELECT number, size FROM events WHERE reason IS NULL ORDER BY number LIMIT ?", (count,)
            )
            last = total = 0
            for number, length in sizes.fetchall():
                total += length
                if last and total > size:
                    break
                last = number
            rows = self._sql.execute(
                "SELECT number, attributes, audience, body FROM events "
                "WHERE reason IS NULL AND number <= ? ORDER BY number",
                (last,),
            )
            return [
                Waiting(number, json.loads(known), json.loads(to), body) for number, known, to, body in rows
            ]

    def settle(self, *, done: Collection[int], set_aside: Collection[tuple[int, str]]) -> None:
        """Take out events that are published; keep those that can never be, with the reason."""
        with self._transaction() as sql:
            sql.executemany("DELETE FROM events WHERE number = ?", [(number,) for number in done])
            sql.executemany("UPDATE events SET reason = ?2 WHERE number = ?1", set_aside)

    def retry(self, numbers: Collection[int]) -> int:
        """Let events that were set aside wait again, in their old places; return how many did."""
        return self._change("UPDATE events SET reason = NULL WHERE number = ? AND reason NOT NULL", numbers)

    def discard(self, numbers: Collection[int]) -> int:
        """Forget events that were set aside, for good; return how many."""
        return self._change("DELETE FROM events WHERE number = ? AND reason NOT NULL", numbers)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only relay. Raises OutboxBusyError; the lock of a process that dies is free again."""
        lock = sqlite3.connect(f"{self.file}-relay", timeout=0, isolation_level=None)
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as taken:
                raise OutboxBusyError(f"another relay of {self.file} is at work") from taken
            yield
        finally:
            lock.close()

    def _change(self, statement: str, numbers: Collection[int]) -> int:
        with self._transaction() as sql:
            return sum(sql.execute(statement, (number,)).rowcount for number in numbers)

    def _prepare(self, max_bytes: int) -> None:
        sql = self._sql
        (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = sql.execute("PRAGMA application_id").fetchone()
        if application != _APPLICATION:
            if tables:
                raise ConfigurationError("outbox", f"{self.file} is another program's database")
            _use_wal(sql)
            sql.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        sql.execute("PRAGMA synchronous = FULL")
        (page,) = sql.execute("PRAGMA page_size").fetchone()
        sql.execute(f"PRAGMA max_page_count = {max_bytes // page}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.file):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._sql.execute("ROLLBACK")
                raise


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and _code(error) == sqlite3.SQLITE_BUSY


@retry(
    retry=retry_if_exception(_is_locked),
    wait=wait_random(0.005, 0.05),
    stop=stop_after_delay(_LOCK_TIMEOUT),
    reraise=True,
)
def _use_wal(sql: sqlite3.Connection) -> None:
    """Switch the file to WAL, which it then stays in. SQLite does not wait for this lock by itself."""
    sql.execute("PRAGMA journal_mode = WAL")


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    """Raise this module's errors in place of SQLite's and the file system's."""
    try:
        yield
    except sqlite3.Error as error:
        match _code(error):
            case sqlite3.SQLITE_FULL:
                raise OutboxFullError(f"{file} takes no more events until some are relayed") from error
            case sqlite3.SQLITE_NOTADB:
                raise ConfigurationError("outbox", f"{file} is no outbox") from error
            case _:
                raise OutboxError(f"{file}: {error}") from error
    except OSError as error:
        raise OutboxError(f"{file}: {error.strerror}") from error


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for an error of the module's own, as after `Outbox.close`."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
