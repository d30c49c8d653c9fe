"""Dead letters by what they have in common: how many, since when, an example, a trend."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, func, select, type_coerce

from claimbus.database.letter import Filter
from claimbus.database.schema import fingerprints, letters, moment_of

By = Literal["error", "cause", "participant", "endpoint", "type", "hour"]

_HOUR_MS: Final = 3_600_000
_FACTS: Final = ("cause", "status", "error")
_died: Final = type_coerce(letters.c.died_at, BigInteger)
_KEYS: Final[dict[By, ColumnElement[Any]]] = {
    "error": letters.c.fingerprint,
    "cause": letters.c.cause,
    "participant": letters.c.participant_id,
    "endpoint": letters.c.endpoint_id,
    "type": letters.c.type,
    "hour": _died // _HOUR_MS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters that have ``key`` in common: a fingerprint's ID, a cause, …, an hour (ISO 8601, UTC).

    ``key`` is None where they have none. ``cause``, ``status`` and ``error`` are those of a fingerprint.
    ``sample`` is the newest letter's ID; ``trend`` has the counts in equal spans of time, from the first to
    the last letter of all groups.
    """

    key: str | None
    cause: str | None = None
    status: int | None = None
    error: str | None = None
    count: int
    first: datetime
    last: datetime
    sample: str
    trend: tuple[int, ...]


class _Sum(NamedTuple):
    """A group without its trend; moments in milliseconds, ``newest`` the number of a letter."""

    key: Any
    size: int
    first: int
    last: int
    newest: int


def groups(
    connection: Connection, wanted: Filter, *, by: By = "error", buckets: int = 24, limit: int = 100
) -> list[Group]:
    """Return the biggest groups of the letters that a filter finds, the biggest first."""
    conditions, key = wanted.conditions(connection), _KEYS[by].label("key")
    counted = select(key, func.count(), func.min(_died), func.max(_died), func.max(letters.c.number))
    found = [_Sum(*row) for row in connection.execute(counted.where(*conditions).group_by("key"))]
    if not found:
        return []
    biggest = sorted(found, key=lambda one: (-one.size, -one.newest))[:limit]
    first, last = min(one.first for one in found), max(one.last for one in found)
    trends: dict[Any, list[int]] = {one.key: [0] * buckets for one in biggest}
    in_time = (
        select(key, ((_died - first) * buckets // (last - first + 1)).label("bucket"), func.count())
        .where(*conditions, _died.between(first, last))  # others may have come since
        .group_by("key", "bucket")
    )
    if len(biggest) < len(found):
        named = _KEYS[by].in_([one for one in trends if one is not None])
        in_time = in_time.where(named | _KEYS[by].is_(None) if None in trends else named)
    for of, bucket, count in connection.execute(in_time):
        if of in trends:  # another may have come since
            trends[of][bucket] = count
    samples = _samples(connection, [one.newest for one in biggest])
    facts = _facts(connection, by, [one.key for one in biggest])
    return [
        Group(
            key=_named(by, one.key),
            **facts.get(one.key, {}),
            count=one.size,
            first=moment_of(one.first),
            last=moment_of(one.last),
            sample=samples[one.newest],
            trend=tuple(trends[one.key]),
        )
        for one in biggest
    ]


def _named(by: By, key: Any) -> str | None:  # noqa: ANN401 - what the database groups by
    if by == "hour":
        return moment_of(key * _HOUR_MS).isoformat(timespec="minutes")
    return None if key is None else str(key)


def _samples(connection: Connection, numbers: list[int]) -> dict[int, str]:
    query = select(letters.c.number, letters.c.id).where(letters.c.number.in_(numbers))
    return dict(connection.execute(query).all())


def _facts(connection: Connection, by: By, keys: list[str]) -> dict[str, dict[str, Any]]:
    """Return cause, status and error, as far as groups with these keys have them in common."""
    if by == "cause":
        return {key: {"cause": key} for key in keys}
    if by != "error":
        return {}
    column = fingerprints.c
    query = select(column.id, *(column[name] for name in _FACTS)).where(column.id.in_(keys))
    return {key: dict(zip(_FACTS, row, strict=True)) for key, *row in connection.execute(query)}
