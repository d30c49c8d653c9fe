"""Opening the database and running transactions on it, in threads beside the event loop."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from claimbus.database import migration
from claimbus.database.errors import SETTING, sqlite_code, translated
from claimbus.database.sealed import KEYS
from claimbus.events.errors import ConfigurationError
from claimbus.events.sealing import NO_KEYS, Keys

T = TypeVar("T")

LOCK_TIMEOUT_S: Final = 10.0
"""How long a transaction waits for another's lock before it is given up."""

_WAL_PAGES: Final = 4000
"""WAL pages (4 KiB) between checkpoints. The attempts' index by message is written all over: with SQLite's
1,000 pages a million rows took 20 µs each, with 8,000 they took 13."""


class Database:
    """An open database.

    SQLite (WAL, every commit synced) has one writing thread: its file takes one writer at a time, of all
    processes. Cancelling ``run`` or ``read`` does not stop the transaction, which ends by itself.
    """

    def __init__(self, url: URL, *, lock_timeout_s: float, threads: int, keys: Keys = NO_KEYS) -> None:
        if url.get_backend_name() == "sqlite":
            self._writing = _sqlite(url, "BEGIN IMMEDIATE", lock_timeout_s, pool_size=1)
            self._reading = _sqlite(url, "BEGIN", lock_timeout_s, pool_size=threads)
        else:
            self._writing = _postgresql(url, lock_timeout_s, pool_size=2 * threads)
            self._reading = self._writing.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        for engine in (self._writing, self._reading):
            engine.update_execution_options(**{KEYS: keys})
        writers = 1 if self.is_sqlite else threads
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="database-write")
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="database-read")

    @classmethod
    def open(
        cls,
        url: str,
        *,
        migrate: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        threads: int = 4,
        keys: Keys = NO_KEYS,
    ) -> Self:
        """Open ``sqlite:///path`` or ``postgresql://…`` and bring its schema up to date.

        Any number of processes may do so at once. ``threads`` is how many transactions run at once, besides
        SQLite's one that writes. Endpoints' secrets and parked events are encrypted with the first of the
        ``keys``, if there are any. Raises ConfigurationError for a URL that is neither, SchemaError when the
        schema is newer than the code (or older, and ``migrate`` is off), and DatabaseUnavailableError.
        """
        database = cls(parse(url), lock_timeout_s=lock_timeout_s, threads=threads, keys=keys)
        try:
            with translated():
                if database.is_sqlite:
                    _prepare_file(database._writing, lock_timeout_s)
                with database._reading.begin() as connection:
                    is_current = migration.is_current(connection, migrate=migrate)
                if not is_current:
                    migration.upgrade(database._writing)
        except BaseException:
            database.close()
            raise
        return database

    @property
    def is_sqlite(self) -> bool:
        """Tell SQLite from PostgreSQL."""
        return self._writing.dialect.name == "sqlite"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write; committed at the end, rolled back on an error. Blocks: not for the event loop."""
        with translated(), self._writing.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Read one state of the database, waiting for no writer. Blocks: not for the event loop."""
        with translated(), self._reading.begin() as connection:
            yield connection

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a `transaction`, in a thread."""
        return await self._submit(self._writers, self.transaction, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a `snapshot`, in a thread."""
        return await self._submit(self._readers, self.snapshot, work)

    async def _submit(
        self,
        threads: ThreadPoolExecutor,
        begin: Callable[[], contextlib.AbstractContextManager[Connection]],
        work: Callable[[Connection], T],
    ) -> T:
        def transact() -> T:
            with begin() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(threads, transact)

    def close(self) -> None:
        """Wait for the transactions that run and disconnect."""
        self._writers.shutdown()
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse(url: str) -> URL:
    """Read a database URL, without connecting. Raises ConfigurationError, which never quotes a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(SETTING, "is no database URL") from error
    match parsed.drivername:
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
        case "sqlite" | "sqlite+pysqlite":
            return _sqlite_file(parsed)
        case other:
            raise ConfigurationError(SETTING, f"{other!r}: the databases are sqlite and postgresql")


def _sqlite_file(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError(SETTING, "must name a file, as in sqlite:///claimbus.db")
    folder = Path(url.database).absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(SETTING, f"the folder {folder} does not exist")
    return url.set(drivername="sqlite+pysqlite")


def _sqlite(url: URL, begin: str, lock_timeout_s: float, pool_size: int) -> Engine:
    # Parameters are hidden from errors and logs everywhere: there are secrets and bodies among them.
    engine = create_engine(
        url, connect_args={"timeout": lock_timeout_s}, pool_size=pool_size, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        if begin == "BEGIN":
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin_so(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _prepare_file(engine: Engine, timeout_s: float) -> None:
    """Make the file, readable by its owner only (there are secrets in it), and switch it to WAL for good."""
    path = Path(engine.url.database or "")
    with contextlib.suppress(OSError):  # SQLite tells what is wrong
        path.touch(mode=0o600)

    @retry(  # SQLite does not wait for this lock by itself
        retry=retry_if_exception(lambda error: sqlite_code(error) == sqlite3.SQLITE_BUSY),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(timeout_s),
        reraise=True,
    )
    def switch() -> None:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()

    switch()


def _postgresql(url: URL, lock_timeout_s: float, pool_size: int) -> Engine:
    return create_engine(
        url,
        connect_args={
            "application_name": "claimbus",
            "connect_timeout": 10,
            "options": f"-c lock_timeout={int(lock_timeout_s * 1000)} -c statement_timeout=60000",
        }
        | url.query,
        pool_size=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
    )
