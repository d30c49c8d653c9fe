"""Dead letters by what they have in common: how many, since when, an example, a trend."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

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


@dataclass(slots=True)
class _Sum:
    """A group as it is being added up; moments in milliseconds, ``newest`` the number of a letter."""

    key: Any
    trend: list[int]
    count: int = 0
    first: int = 2**63
    last: int = 0
    newest: int = 0

    def add(self, bucket: int, count: int, first: int, last: int, newest: int) -> None:
        self.trend[bucket] += count
        self.count += count
        self.first = min(self.first, first)
        self.last = max(self.last, last)
        self.newest = max(self.newest, newest)


def groups(
    connection: Connection, wanted: Filter, *, by: By = "error", buckets: int = 24, limit: int = 100
) -> list[Group]:
    """Return the biggest groups of the letters that a filter finds, the biggest first."""
    conditions = wanted.conditions(connection)
    first, last = connection.execute(select(func.min(_died), func.max(_died)).where(*conditions)).one()
    if first is None:
        return []
    counted = (
        select(
            _KEYS[by].label("key"),
            ((_died - first) * buckets // (last - first + 1)).label("bucket"),
            func.count(),
            func.min(_died),
            func.max(_died),
            func.max(letters.c.number),
        )
        .where(*conditions, _died.between(first, last))  # others may have come since
        .group_by("key", "bucket")
    )
    sums: dict[Any, _Sum] = {}
    for key, *counts in connection.execute(counted):
        sums.setdefault(key, _Sum(key, [0] * buckets)).add(*counts)
    biggest = sorted(sums.values(), key=lambda one: (-one.count, -one.newest))[:limit]
    samples = _samples(connection, [one.newest for one in biggest])
    facts = _facts(connection, by, [one.key for one in biggest])
    return [
        Group(
            key=_named(by, one.key),
            **facts.get(one.key, {}),
            count=one.count,
            first=moment_of(one.first),
            last=moment_of(one.last),
            sample=samples[one.newest],
            trend=tuple(one.trend),
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
