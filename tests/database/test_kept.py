"""A body stays as long as a letter needs it, and not for ever."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from claimbus.database import Database, NotFoundError, kept
from claimbus.database.kept import STRAY_AFTER, KeptClaim
from claimbus.database.letters import DeadLetter, State
from claimbus.database.schema import kept_chunks, kept_claims
from claimbus.events.event import Audience
from tests.database.replaying import NOON, SECOND, enter, letter
from tests.waiting import eventually

HOUR = timedelta(hours=1)


def claim(name: str, at: datetime = NOON, audience: Audience = "all", chunks: int = 0) -> KeptClaim:
    return KeptClaim(name, audience, 4, 100, chunks, at, b"\x00\xff" + name.encode())


def keep(database: Database, *claims: KeptClaim, needed_by: Sequence[DeadLetter] = ()) -> None:
    """Keep claims, their chunks first, and then letters."""
    with database.transaction() as connection:
        for one in claims:
            for number in range(one.chunks):
                kept.write_chunk(connection, one.claim_id, number, b"chunk", one.kept_at)
        kept.record(connection, claims)
        enter(connection, *needed_by)


def sweep(database: Database, before: datetime, limit: int = 1000) -> int:
    with database.transaction() as connection:
        return kept.sweep(connection, before, limit=limit)


def left(database: Database) -> set[str]:
    with database.snapshot() as connection:
        return set(connection.execute(text("SELECT claim_id FROM kept_claims")).scalars())


def chunks(database: Database) -> list[tuple[str, int]]:
    with database.snapshot() as connection:
        rows = connection.execute(text("SELECT claim_id, number FROM kept_chunks ORDER BY 1, 2"))
        return [(row.claim_id, row.number) for row in rows]


def test_a_kept_claim_has_the_columns_of_its_table() -> None:
    assert list(KeptClaim._fields) == [column.name for column in kept_claims.columns]


@pytest.mark.parametrize("audience", ["all", frozenset({"PGAE"}), frozenset({"SCE", "PGAE"})])
def test_a_claim_comes_back_as_it_was(database: Database, audience: Audience) -> None:
    one = claim("one", audience=audience)
    keep(database, one)
    with database.snapshot() as connection:
        assert kept.get(connection, "one") == one
        assert kept.get(connection, "two") is None
        assert kept.audiences(connection, ["two", "one"]) == {"one": audience}


def test_a_claim_is_kept_once(database: Database) -> None:
    keep(database, claim("one"))
    keep(database, claim("two"), claim("one", NOON + HOUR), claim("two"))
    with database.snapshot() as connection:
        assert kept.get(connection, "one") == claim("one")
        assert kept.stored_bytes(connection) == 200


def test_nothing_kept_takes_no_bytes(database: Database) -> None:
    with database.snapshot() as connection:
        assert kept.stored_bytes(connection) == 0


@pytest.mark.parametrize("hold", [False, True])
def test_what_is_kept_is_told_for_thousands_at_once(database: Database, hold: bool) -> None:
    names = [f"claim_{number}" for number in range(6000)]
    keep(database, *map(claim, names))
    with database.transaction() as connection:
        assert kept.has(connection, [*names, "unknown"], hold=hold) == set(names)
        assert kept.has(connection, [], hold=hold) == frozenset()
        assert kept.audiences(connection, names) == dict.fromkeys(names, "all")


def test_a_chunk_written_again_is_the_same_chunk(database: Database) -> None:
    with database.transaction() as connection:
        kept.write_chunk(connection, "one", 0, b"old", NOON)
        kept.write_chunk(connection, "one", 1, b"other", NOON)
        kept.write_chunk(connection, "one", 0, b"\x00new", NOON + HOUR)
        assert kept.chunk(connection, "one", 0) == b"\x00new"
        assert kept.chunk(connection, "one", 1) == b"other"
        written = connection.execute(kept_chunks.select().order_by(kept_chunks.c.number)).all()
        assert [row.written_at for row in written] == [NOON + HOUR, NOON]
        with pytest.raises(NotFoundError, match="chunk 2 of 'one' is not kept"):
            kept.chunk(connection, "one", 2)


@pytest.mark.parametrize(
    ("needed_by", "stays"),
    [
        ([], False),
        ([letter(1)], False),
        ([letter(1), letter(2)], False),
        ([letter(1, died_at=NOON + HOUR)], True),
        ([letter(1), letter(2, died_at=NOON + HOUR)], True),
        ([letter(1), letter(2, died_at=NOON + 2 * HOUR, state="discarded")], True),
        ([letter(1, state_at=NOON + HOUR)], False),
        ([letter(1, state="replaying")], False),
        ([letter(1, state="replaying", state_at=NOON + HOUR)], True),
    ],
)
def test_a_body_stays_until_the_last_letter_that_needs_it(
    database: Database, needed_by: list[DeadLetter], stays: bool
) -> None:
    theirs = [replace(one, claim_id="claim_1") for one in needed_by]
    keep(database, claim("claim_1"), claim("claim_9"), needed_by=theirs)
    assert sweep(database, NOON + HOUR) == (1 if stays else 2)
    assert left(database) == ({"claim_1"} if stays else set())
    assert sweep(database, NOON + HOUR) == 0


STATES: list[State] = ["dead", "replaying", "delivered", "dead again", "discarded"]


@given(
    deaths=st.lists(
        st.tuples(st.integers(0, 5), st.integers(-3, 3), st.sampled_from(STATES), st.integers(0, 5)),
        max_size=12,
    ),
    limit=st.integers(1, 4),
)
def test_no_sweep_takes_a_body_within_retention(
    shared_sqlite: Database, deaths: list[tuple[int, int, State, int]], limit: int
) -> None:
    rows = [
        letter(
            number,
            claim_id=f"claim_{which}",
            died_at=NOON + hours * HOUR,
            state=state,
            state_at=NOON + (hours + later) * HOUR,
        )
        for number, (which, hours, state, later) in enumerate(deaths)
    ]
    needed = {
        one.claim_id
        for one in rows
        if one.died_at >= NOON or (one.state == "replaying" and one.state_at >= NOON)
    }
    names = [f"claim_{number}" for number in range(6)]
    with shared_sqlite.transaction() as connection:
        kept.record(connection, [claim(name, NOON - 3 * HOUR) for name in names])
        enter(connection, *rows)
        while kept.sweep(connection, NOON, limit=limit):
            pass
        assert kept.has(connection, names) == needed
        connection.rollback()


def test_a_body_without_a_letter_yet_is_left_alone(database: Database) -> None:
    keep(database, claim("claim_1", NOON + HOUR))
    assert sweep(database, NOON + HOUR) == 0
    assert left(database) == {"claim_1"}


def test_chunks_go_with_their_claim_and_a_sweep_is_bounded(database: Database) -> None:
    keep(database, *(claim(f"claim_{number}", NOON + number * SECOND, chunks=2) for number in range(3)))
    keep(database, claim("large", NOON + 3 * SECOND, chunks=20), claim("young", NOON + HOUR, chunks=1))
    swept: list[int] = []
    while not swept or swept[-1]:
        swept.append(sweep(database, NOON + HOUR, limit=6))
    assert swept == [2, 1, 1, 0]
    assert left(database) == {"young"}
    assert chunks(database) == [("young", 0)]


def test_only_chunks_that_nobody_is_writing_any_more_are_swept(database: Database) -> None:
    now = datetime.now(UTC)
    keep(database, claim("claim_1", now, chunks=1))
    with database.transaction() as connection:
        kept.write_chunk(connection, "claim_1", 0, b"", now - 2 * STRAY_AFTER)
        for number in range(3):
            kept.write_chunk(connection, "lost", number, b"", now - STRAY_AFTER - HOUR)
        kept.write_chunk(connection, "being-written", 0, b"", now - STRAY_AFTER + HOUR)
    assert [sweep(database, now - HOUR, limit=2) for _ in range(3)] == [2, 1, 0]
    assert chunks(database) == [("being-written", 0), ("claim_1", 0)]


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def is_waiting(database: Database, other: Future[Any]) -> bool:
    """Tell whether the other transaction waits for a lock; SQLite's cannot even have begun."""
    if database.is_sqlite or other.done():
        return True
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.snapshot() as connection:
        return connection.execute(text(query)).first() is not None


async def test_a_letter_that_relies_on_a_body_saves_it_from_the_sweep(
    database: Database, beside: ThreadPoolExecutor
) -> None:
    keep(database, claim("claim_1"))
    with database.transaction() as connection:
        assert kept.has(connection, ["claim_1"], hold=True)
        sweeping = beside.submit(sweep, database, NOON + HOUR)
        await eventually(lambda: is_waiting(database, sweeping))
        enter(connection, letter(1, died_at=NOON + HOUR))
    assert sweeping.result() == 0
    assert left(database) == {"claim_1"}


async def test_a_body_that_is_being_swept_is_relied_on_by_nobody(
    database: Database, beside: ThreadPoolExecutor
) -> None:
    def rely() -> frozenset[str]:
        with database.transaction() as connection:
            return kept.has(connection, ["claim_1"], hold=True)

    keep(database, claim("claim_1"))
    with database.transaction() as connection:
        assert kept.sweep(connection, NOON + HOUR) == 1
        relying = beside.submit(rely)
        await eventually(lambda: is_waiting(database, relying))
    assert relying.result() == frozenset()
