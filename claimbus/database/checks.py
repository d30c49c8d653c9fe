"""What ``claimbus doctor`` looks at in a database. Nothing is changed, nothing is migrated."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, text

from claimbus.database import migration
from claimbus.database.engine import Database, parse
from claimbus.database.errors import SchemaError
from claimbus.database.schema import REVISION
from claimbus.events.errors import ConfigurationError, UnavailableError

_LOW_DISK_BYTES: Final = 2 * 2**30
_LONG_WAL_BYTES: Final = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    severity: Literal["ok", "warning", "error"]
    subject: str
    message: str


def check(url: str) -> list[Finding]:
    """Look whether the database answers, is safe against a power loss, migrated, and has room to grow."""
    try:
        parsed = parse(url)
    except ConfigurationError as error:
        return [Finding("error", "database", str(error))]
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    if file is not None and not file.exists():
        return [Finding("warning", "database", f"{file} is not there yet; the first start makes it")]
    database = Database(parsed, lock_timeout_s=2, threads=1)
    try:
        with database.snapshot() as connection:
            findings = [*_schema(connection)]
            findings += _postgresql(connection) if file is None else _sqlite(connection, file)
            return findings
    except UnavailableError as error:
        return [Finding("error", "database", f"{parsed.render_as_string()}: {error}")]
    finally:
        database.close()


def _schema(connection: Connection) -> Iterator[Finding]:
    found = migration.revision(connection)
    try:
        migration.check_known(found)
    except SchemaError as error:
        yield Finding("error", "database schema", error.reason)
    else:
        if found == REVISION:
            yield Finding("ok", "database schema", f"is at revision {found}")
        else:
            yield Finding(
                "warning", "database schema", f"is at {found}; the next start migrates to {REVISION}"
            )


def _sqlite(connection: Connection, file: Path) -> Iterator[Finding]:
    version, mode = _scalar(connection, "SELECT sqlite_version()"), _scalar(connection, "PRAGMA journal_mode")
    if mode == "wal":
        yield Finding("ok", "database", f"SQLite {version}, {file}, in WAL mode")
    else:
        yield Finding("warning", "database", f"{file} is in {mode} mode; the next start switches it to WAL")
    if file.stat().st_mode & 0o077:
        yield Finding("warning", "database", f"{file} holds secrets, and others than its owner may open it")
    free = shutil.disk_usage(file.parent).free
    room = f"{free / 2**30:.1f} GiB free at {file.parent}"
    yield Finding("ok" if free > _LOW_DISK_BYTES else "warning", "database disk", room)
    wal = file.with_name(file.name + "-wal")
    if wal.exists() and wal.stat().st_size > _LONG_WAL_BYTES:
        yield Finding("warning", "database", f"{wal} is long: some process reads one snapshot for too long")


def _postgresql(connection: Connection) -> Iterator[Finding]:
    version = _scalar(connection, "SHOW server_version")
    size = _scalar(connection, "SELECT pg_size_pretty(pg_database_size(current_database()))")
    yield Finding("ok", "database", f"PostgreSQL {version}, {size}")
    for setting in ("fsync", "synchronous_commit"):
        if _scalar(connection, f"SHOW {setting}") == "off":
            yield Finding("error", "database", f"{setting} is off: a power loss takes recorded attempts away")


def _scalar(connection: Connection, query: str) -> object:
    return connection.execute(text(query)).scalar()
