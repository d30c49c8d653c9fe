"""What the two databases spell alike, but SQLAlchemy does not."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(connection: Connection, table: Table, names: Sequence[str]) -> str:
    """Return the text of an INSERT for the driver itself: a row is a tuple in the order of ``names``.

    For what is written thousands a second; a row costs SQLAlchemy more than the driver. Rows that are there
    already are to be told after it: ``ON CONFLICT …``.
    """
    marks = ", ".join(["?" if connection.dialect.paramstyle == "qmark" else "%s"] * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names from the code


def insert_new(connection: Connection, table: Table, *rows: Mapping[str, Any]) -> int:
    """Insert rows, leaving alone those that are there already; return how many were new."""
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    counted = {"preserve_rowcount": True}
    return connection.execute(statement, rows, execution_options=counted).rowcount


def portions(values: Collection[str], size: int = 5000) -> Iterator[Sequence[str]]:
    """Cut values to what one IN takes: SQLite has at most 32,766 parameters, PostgreSQL 65,535."""
    listed = list(values)
    return (listed[start : start + size] for start in range(0, len(listed), size))
