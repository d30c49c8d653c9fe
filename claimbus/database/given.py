"""What a caller gives, as a table to join: any number of rows in a few parameters.

An IN has a parameter for each value: SQLAlchemy spells them all, and both databases limit their number.
"""

import json
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, FromClause, Select, String, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY


def given(connection: Connection, rows: Collection[tuple[str | None, ...]], *names: str) -> FromClause:
    """Return rows of text as a table with these columns."""
    if connection.dialect.name == "postgresql":
        columns = (literal([row[place] for row in rows], ARRAY(String)) for place in range(len(names)))
        return func.unnest(*columns).table_valued(*names, name="given").render_derived()
    row = func.json_each(json.dumps(list(rows))).table_valued("value").c.value
    fields = (func.json_extract(row, f"$[{place}]").label(name) for place, name in enumerate(names))
    return select(*fields).subquery("given")


def among(connection: Connection, values: Iterable[str]) -> Select[str]:
    """Return values for an IN."""
    return select(given(connection, [(value,) for value in values], "value").c.value)
