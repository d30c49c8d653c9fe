"""IDs as people type them: the beginning of one is enough, if nothing else begins so."""

from typing import Any, Final, Literal

from sqlalchemy import Column, Connection, func, select

from claimbus.database.errors import NotFoundError
from claimbus.database.schema import endpoints, fingerprints, letters, replays
from claimbus.events.errors import InvalidInputError

Kind = Literal["endpoint", "group", "letter", "replay"]

TOLD: Final = 10
"""So many of those that begin alike are told."""

_IDS: Final[dict[Kind, Column[Any]]] = {
    "endpoint": endpoints.c.id,
    "group": fingerprints.c.id,
    "letter": letters.c.id,
    "replay": replays.c.id,
}


def resolve(connection: Connection, kind: Kind, prefix: str) -> str:
    """Return the whole ID of the one thing whose ID begins so.

    Raises NotFoundError, and InvalidInputError naming those that there are when there are several.
    """
    column = _IDS[kind]
    whole = select(column).where(column == prefix)
    # Not LIKE, which has wildcards, nor a range, whose order is a matter of the database's language.
    begun = select(column).where(func.substr(column, 1, len(prefix)) == prefix).order_by(column)
    found = (
        connection.execute(whole).scalars().all() or connection.execute(begun.limit(TOLD + 1)).scalars().all()
    )
    match found:
        case [one]:
            return str(one)
        case []:
            raise NotFoundError(kind, f"there is none whose ID begins with {prefix!r:.80}")
    named = ", ".join([*found[:TOLD], *(["…"] if len(found) > TOLD else [])])
    raise InvalidInputError(kind, f"{prefix!r:.80} is the beginning of several: {named}")
