"""The room's errors, and the one place where the drivers' errors become them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import exc

from claimbus.database.schema import metadata
from claimbus.events.errors import ClaimbusError, ConfigurationError, InvalidInputError, UnavailableError

SETTING = "CLAIMBUS_DATABASE_URL"


class DatabaseUnavailableError(UnavailableError):
    """The database is away, locked for too long, or full. The same transaction may succeed later."""


class SchemaError(ConfigurationError):
    """The database's schema is not the one that this code works with."""

    def __init__(self, reason: str) -> None:
        super().__init__(SETTING, reason)


class NotFoundError(InvalidInputError):
    """``field`` names something that is not there."""


class DuplicateError(InvalidInputError):
    """``field`` names something that is there already."""


_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_SQLITE_DUPLICATE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


@contextmanager
def translated() -> Iterator[None]:
    """Raise this room's errors in place of SQLAlchemy's. What stays untranslated is a mistake in the code."""
    try:
        yield
    except exc.StatementError as error:
        cause = error.orig or error
        meaning = _meaning(cause)
        if meaning is None:
            raise
        # PostgreSQL's DETAIL quotes the row, secrets and bodies among it, and tracebacks show the chain.
        error.args, cause.args = (_first_line(error),), (_first_line(cause),)
        raise meaning from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailableError("database: every connection is in use") from error
    except sqlite3.Error as error:  # on connecting, where SQLAlchemy does not wrap it
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(cause: BaseException) -> ClaimbusError | None:
    """Return what a driver's error means, or None for a mistake in the code."""
    match cause:
        case ClaimbusError():  # raised by a column type
            return cause
        case sqlite3.IntegrityError() | psycopg.IntegrityError():
            return _violation(cause)
        case psycopg.DataError():
            return InvalidInputError("value", _first_line(cause))
        case sqlite3.Error():
            away = sqlite_code(cause) in _SQLITE_UNAVAILABLE
        case psycopg.Error():
            away = isinstance(cause, psycopg.OperationalError | psycopg.errors.ReadOnlySqlTransaction)
        case _:
            away = False
    return DatabaseUnavailableError(f"database: {_first_line(cause)}") if away else None


def _violation(cause: sqlite3.IntegrityError | psycopg.IntegrityError) -> InvalidInputError:
    """Name the field of a violated constraint: of several columns the last, which tells them apart."""
    if isinstance(cause, psycopg.IntegrityError):
        constraint = cause.diag.constraint_name or ""
        field = cause.diag.column_name or _columns().get(constraint, constraint)
        is_duplicate = isinstance(cause, psycopg.errors.UniqueViolation)
        is_missing = isinstance(cause, psycopg.errors.ForeignKeyViolation)
    else:  # "UNIQUE constraint failed: endpoints.participant_id, endpoints.name"
        named = str(cause).rpartition(": ")[2].rpartition(".")[2]
        field = _columns().get(named, named)
        is_duplicate = cause.sqlite_errorcode in _SQLITE_DUPLICATE
        is_missing = cause.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    if is_duplicate:
        return DuplicateError(field, "is there already")
    if is_missing:
        return NotFoundError(field, "names something that is not there")
    return InvalidInputError(field or "value", _first_line(cause))


def _columns() -> dict[str, str]:
    """Return the last column of each named constraint and unique index."""
    found: dict[str, str] = {}
    for table in metadata.tables.values():
        for rule in (*table.constraints, *table.indexes):
            name = str(getattr(rule, "name", ""))
            columns = [column.name for column in getattr(rule, "columns", ())]
            found[name] = columns[-1] if columns else name.removeprefix(f"ck_{table.name}_")
    return found


def sqlite_code(error: BaseException) -> int:
    """Return SQLite's primary result code of an error; 0 (OK) for an error that SQLite did not make."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)) & 0xFF


def _first_line(cause: BaseException) -> str:
    """Return what the driver says, and no more than that."""
    return (str(cause).splitlines() or [type(cause).__name__])[0]
