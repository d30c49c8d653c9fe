"""Dead letters: recorded once, found, discarded, restored, forgotten.

A letter waits ``dead`` for an operator. A replay takes it (``replaying``) to ``delivered``, to ``dead again``
or back; an operator may discard it, which can be undone until it is forgotten.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, delete, func, or_, select, update

from claimbus.database import abbreviated, audit
from claimbus.database.audit import Act, Subject
from claimbus.database.deaths import record
from claimbus.database.errors import NotFoundError
from claimbus.database.groups import Group, groups
from claimbus.database.letter import EVERYTHING, NAMES, DeadLetter, Filter, State, letter_id
from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import letters
from claimbus.database.statements import portions
from claimbus.events.errors import InvalidInputError

__all__ = [
    "EVERYTHING",
    "DeadLetter",
    "Filter",
    "Group",
    "State",
    "count",
    "dead_message_ids",
    "discard",
    "find",
    "forget",
    "get",
    "groups",
    "letter_id",
    "looked",
    "many",
    "record",
    "resolve",
    "restore",
    "select_ids",
]

AUDITED_IDS: Final = 100
"""So many of the letters that one act moved are named in its audit entry."""


def resolve(connection: Connection, prefix: str) -> str:
    """Return the whole ID of the one letter whose ID begins so.

    Raises NotFoundError, and InvalidInputError when there are several.
    """
    return abbreviated.resolve(connection, "letter", prefix)


def get(connection: Connection, letter_id: str) -> DeadLetter:
    """Return a letter. Raises NotFoundError."""
    for letter in many(connection, [letter_id]):
        return letter
    raise NotFoundError("letter", f"there is no letter {letter_id!r:.80}")


def many(connection: Connection, ids: Collection[str]) -> list[DeadLetter]:
    """Return the letters with these IDs, in their order; IDs that nothing has are left out."""
    found: dict[str, DeadLetter] = {}
    for some in portions(ids):
        query = select(*(letters.c[name] for name in NAMES)).where(letters.c.id.in_(some))
        found.update((row["id"], DeadLetter(**row)) for row in connection.execute(query).mappings())
    return [found[one] for one in ids if one in found]


def find(
    connection: Connection, wanted: Filter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
) -> Page[DeadLetter]:
    """Return letters, newest first."""
    number = letters.c.number
    # The numbers first: the index alone gives them, while SQLite would fetch every letter in that state.
    keys = select(number).where(*wanted.conditions(connection))
    if cursor is not None:
        (last,) = whole_numbers(cursor, 1)
        keys = keys.where(number < last)
    keys = keys.order_by(number.desc()).limit(limit + 1)
    query = select(letters).where(number.in_(keys)).order_by(number.desc())
    rows = connection.execute(query).mappings()
    found = [(row["number"], DeadLetter(**{name: row[name] for name in NAMES})) for row in rows]
    page = Page.cut(found, limit, lambda last: str(last[0]))
    return Page(tuple(letter for _, letter in page.rows), page.cursor)


def select_ids(connection: Connection, wanted: Filter) -> list[str]:
    """Return the IDs of all letters that are found now, oldest first."""
    query = select(letters.c.id).where(*wanted.conditions(connection)).order_by(letters.c.number)
    return list(connection.execute(query).scalars())


def count(
    connection: Connection, wanted: Filter = EVERYTHING, *, by: Literal["state", "cause"]
) -> dict[str, int]:
    """Return how many letters have which state or cause."""
    key = letters.c[by]
    query = select(key, func.count()).where(*wanted.conditions(connection)).group_by(key)
    return dict(connection.execute(query).all())


def dead_message_ids(
    connection: Connection, endpoint_id: str, message_ids: Collection[str]
) -> frozenset[str]:
    """Return of which of these messages this endpoint has a letter, in whatever state."""
    column = letters.c
    query = select(column.message_id).where(column.endpoint_id == endpoint_id)
    found: set[str] = set()
    for some in portions(message_ids):
        found.update(connection.execute(query.where(column.message_id.in_(some))).scalars())
    return frozenset(found)


def discard(connection: Connection, ids: Collection[str], act: Act) -> int:
    """Set aside those of these letters that are ``dead``; return how many. Their bodies are kept.

    Raises InvalidInputError when the act gives no reason.
    """
    if not act.reason.strip():
        raise InvalidInputError("reason", "is missing: say why these letters need no delivery")
    return _move(connection, ids, act, "discarded", before="dead", after="discarded")


def restore(connection: Connection, ids: Collection[str], act: Act) -> int:
    """Take back those of these letters that are ``discarded``; return how many."""
    return _move(connection, ids, act, "restored", before="discarded", after="dead")


def _move(
    connection: Connection, ids: Collection[str], act: Act, action: str, *, before: State, after: State
) -> int:
    column = letters.c
    change = update(letters).values(state=after, state_at=act.at, state_reason=act.reason)
    moved: list[str] = []
    for some in portions(dict.fromkeys(ids)):
        there = change.where(column.id.in_(some), column.state == before)
        moved += connection.execute(there.returning(column.id)).scalars()
    if moved:
        subject = Subject("letters", moved[0] if len(moved) == 1 else f"{len(moved)} letters")
        told = {"state": after, "count": len(moved), "ids": moved[:AUDITED_IDS]}
        audit.append(connection, act, action, subject, before={"state": before}, after=told)
    return len(moved)


def looked(connection: Connection, letter: DeadLetter, act: Act, what: Literal["letter", "body"]) -> None:
    """Leave in the audit that somebody looked at a letter, or at its body."""
    audit.append(connection, act, "looked", Subject("letters", letter.id), after={"what": what})


def forget(connection: Connection, before: datetime, *, limit: int = 5000) -> int:
    """Delete the oldest letters that died before a moment, at most so many; return how many.

    During a replay they stay until its begin is before that moment, too. Repeat it, each time in a
    transaction of its own, until it returns 0: the recorders' writes go in between.
    """
    column = letters.c
    idle = or_(column.state != "replaying", column.state_at < before)
    oldest = select(column.number).where(column.died_at < before, idle).order_by(column.died_at).limit(limit)
    return connection.execute(delete(letters).where(column.number.in_(oldest))).rowcount
