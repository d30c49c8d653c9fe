"""Sizes: what one more claim, ticket, attempt or letter takes, in bytes of memory and of disk."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from benchmarks import chart
from benchmarks.pages import DATABASES, TEMPORARY, opened
from benchmarks.report import Report, Sheet
from benchmarks.runner import Progress, run_side
from benchmarks.servers import Room, room
from benchmarks.side import NOBODY, Filling
from claimbus.cli.services import ServicesError, private_directory

WARM_UP: Final = 1_000
"""So many are there before it is looked for the first time: whatever is made once is made by then."""

LARGE: Final = 50
"""A large body is one of so many times as few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What there is more of: how it is filled (`benchmarks.sides.fill`), and where that shows."""

    name: str
    what: str
    shows: Sequence[str]
    size: int = 2048
    settings: Mapping[str, str] = field(default_factory=dict)


def _encrypted() -> dict[str, str]:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {"CLAIMBUS_ENCRYPTION_KEYS": f"benchmark:{key}"}


REDIS: Final = ("Redis memory", "Redis file")
RABBITMQ: Final = ("RabbitMQ memory", "RabbitMQ disk")
THINGS: Final = (
    Thing(name="claim of 2 KB", what="claims", shows=REDIS),
    Thing(name="the same, encrypted", what="claims", shows=REDIS, settings=_encrypted()),
    Thing(name="claim of 100 KB", what="claims", shows=REDIS, size=102_400),
    Thing(name="ID of a producer's own", what="identities", shows=REDIS),
    Thing(name="ticket waiting in a queue", what="waiting", shows=RABBITMQ),
    Thing(name="journal entry", what="entries", shows=RABBITMQ),
)
ROWS: Final = (
    Thing(name="attempt", what="attempts", shows=("database",)),
    Thing(name="dead letter", what="letters", shows=("database",)),
    Thing(name="its body", what="bodies", shows=("database",)),
)


def sizes(
    *,
    count: int,
    progress: Progress,
    things: Sequence[Thing] = THINGS,
    rows_of: Sequence[Thing] = ROWS,
    databases: Sequence[str] = DATABASES,
) -> Report:
    """Add ``count`` of each, of large ones a `LARGE`th, and see by how much it grew.

    Memory and files are the servers' own, so nobody else may use them meanwhile.
    """
    rows, notes = list[tuple[str, str, float | None]](), list[str]()
    for thing in things:
        progress(thing.name)
        with private_directory(TEMPORARY) as folder:
            rows += _rows(thing, f"sqlite:///{folder / 'claimbus.db'}", count, thing.name)
    for database in databases:
        with private_directory(TEMPORARY) as folder, ExitStack() as running:
            try:
                url = opened(database, folder, running)
            except ServicesError as reason:
                notes.append(f"{database}: not run: {reason}")
                continue
            for thing in rows_of:
                progress(f"{thing.name}, {database}")
                rows += _rows(thing, url, count, f"{thing.name}, {database}")
    bars = [chart.Bar(f"{name}: {where}", bytes_) for name, where, bytes_ in rows if bytes_]
    return Report(
        name="sizes",
        sheets=[Sheet("what one more takes", ("one more", "in", "bytes"), rows)],
        chart=chart.bars("What one more of each takes", "bytes", bars),
        notes=notes,
        document={"bytes": {f"{name}: {where}": bytes_ for name, where, bytes_ in rows}},
    )


def _rows(thing: Thing, database: str, count: int, name: str) -> Iterator[tuple[str, str, float | None]]:
    count = max(1, count if thing.size <= 2048 else count // LARGE)
    with room() as servers:
        _fill(thing, servers, database, WARM_UP)
        before = _standing(servers, database)
        _fill(thing, servers, database, count)
        after = _standing(servers, database)
    for where in thing.shows:
        was, is_now = before.get(where), after.get(where)
        grown = None if was is None or is_now is None else is_now - was
        # Less than before: a log was rolled over or rewritten meanwhile.
        yield name, where, None if grown is None or grown < 0 else round(grown / count)


def _fill(thing: Thing, servers: Room, database: str, count: int) -> None:
    order = Filling(
        sink=NOBODY,
        authority=None,
        endpoints=0,
        events=0,
        bodies="",
        size=thing.size,
        prefetch=0,
        key_prefix=servers.key_prefix,
        database=database,
        what=thing.what,
        count=count,
    )
    run_side("fill", order, servers, thing.settings)


def _standing(servers: Room, database: str) -> dict[str, int]:
    """Return what is taken now, by where, as far as it can be seen."""
    found = servers.standing()
    if database.startswith("sqlite:///"):
        file = Path(database.removeprefix("sqlite:///"))
        found["database"] = sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))
    else:
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            found["database"] = row[0] if row else 0
    return found
