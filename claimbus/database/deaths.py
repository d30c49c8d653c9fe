"""Recording dead letters: what was given up, why, and its body."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, select, update

from claimbus.database import kept
from claimbus.database.kept import KeptClaim
from claimbus.database.letter import NAMES, DeadLetter
from claimbus.database.schema import fingerprints as fingerprints_table
from claimbus.database.schema import letters, milliseconds, replay_items
from claimbus.database.statements import insert_into, insert_new, portions
from claimbus.events.fingerprint import Fingerprint

_values = attrgetter(*NAMES)

# What a stranger wrote into a message's headers must fit into columns and, 2,704 bytes, PostgreSQL's indexes.
_LONGEST: Final = {"detail": 2000, "cause": 100, "endpoint_id": 100, "participant_id": 100}
_LARGEST: Final = {"status": 2**31 - 1, "attempts": 2**31 - 1}


def record(
    connection: Connection,
    batch: Sequence[DeadLetter],
    fingerprints: Iterable[Fingerprint],
    claims: Iterable[KeptClaim],
) -> int:
    """Add letters, what their groups have in common, and their bodies; return how many letters are new.

    What is there already is left alone. A letter that died in a replay makes the one that was replayed
    ``dead again``, with the new one as its ``next_id``.
    """
    kept.record(connection, claims)
    shared = {one.id: dict(zip(one._fields, _fit(one._fields, one), strict=True)) for one in fingerprints}
    insert_new(connection, fingerprints_table, *(shared[key] for key in sorted(shared)))
    if not batch:
        return 0
    added = connection.exec_driver_sql(
        f"{insert_into(connection, letters, NAMES)} ON CONFLICT DO NOTHING",
        [_fit(NAMES, _values(one)) for one in batch],
    ).rowcount
    _link(connection, batch)
    return added


def _fit(names: Iterable[str], row: Iterable[Any]) -> tuple[Any, ...]:
    """Make a row fit for any database, so that what a stranger wrote cannot spoil the batch of the others."""
    return tuple(map(_fitting, names, row))


def _fitting(name: str, value: Any) -> Any:  # noqa: ANN401 - of any column
    if isinstance(value, str):
        if not value.isprintable():
            value = value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
        return value[: _LONGEST.get(name)]
    if isinstance(value, int):
        return min(value, _LARGEST.get(name, 2**63 - 1))
    return milliseconds(value) if isinstance(value, datetime) else value


def _link(connection: Connection, batch: Sequence[DeadLetter]) -> None:
    """Make the letters that were being replayed ``dead again`` whose replays died in this batch."""
    died = {(one.replay, one.endpoint_id, one.message_id): one for one in reversed(batch) if one.replay}
    column, item = letters.c, replay_items.c
    query = select(column.id, column.replay_id, column.endpoint_id, column.message_id)
    query = query.where(column.state == "replaying").order_by(column.id).with_for_update()
    changes = [
        {
            "old": old,
            "job": one.replay,
            "next": one.id,
            "at": one.died_at,
            "told": f"{_fitting('cause', one.cause)}: {one.id}",
        }
        for some in portions([one.message_id for one in died.values() if one.message_id is not None])
        for old, *key in connection.execute(query.where(column.message_id.in_(some)))
        if (one := died.get(tuple(key)))
    ]
    if not changes:
        return
    now = {"state": "dead again", "state_at": bindparam("at")}
    letter = update(letters).where(column.id == bindparam("old"))
    letter = letter.values(**now, state_reason=bindparam("told"), next_id=bindparam("next"))
    connection.execute(letter, changes)
    theirs = and_(item.replay_id == bindparam("job"), item.letter_id == bindparam("old"))
    connection.execute(update(replay_items).where(theirs).values(**now, detail=bindparam("told")), changes)
