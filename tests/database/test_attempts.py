"""The rows of the hot path: written in batches, written again without harm, found quickly."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from claimbus.database import Database, DatabaseUnavailableError, attempts
from claimbus.database.attempts import Attempt, Filter
from claimbus.database.schema import attempts as table
from claimbus.database.schema import milliseconds
from claimbus.events.errors import InvalidInputError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
VERDICTS = ("delivered", "failed", "superseded", "corrupt")
TYPES = ("oms.resource-outage.created", "market.dam.closed")


def attempt(number: int = 0, **other: object) -> Attempt:
    """An attempt ``number`` seconds after noon."""
    usual = Attempt(
        started_ms=milliseconds(NOON) + 1000 * number,
        id=attempts.new_id(),
        endpoint_id="ep_one",
        message_id="evt_one",
        verdict="delivered",
        participant_id="PGAE",
        type="oms.resource-outage.created",
        claim_id="Y2xhaW0",
        attempt=1,
        status=200,
        duration_ms=12,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="//iso.example/production/oms",
        event_id="15120034/1",
        partitionkey="15120034",
        sequence=1,
    )
    return usual._replace(**other)  # type: ignore[arg-type]


def record(database: Database, batch: Sequence[Attempt]) -> None:
    with database.transaction() as connection:
        attempts.record(connection, batch)


def found(database: Database, wanted: Filter = attempts.EVERYTHING) -> tuple[Attempt, ...]:
    with database.snapshot() as connection:
        return attempts.find(connection, wanted).rows


def test_an_attempt_has_the_columns_of_its_table() -> None:
    assert list(Attempt._fields) == [column.name for column in table.columns]


def test_what_was_recorded_is_found_newest_first(database: Database) -> None:
    failed = attempt(
        1,
        verdict="failed",
        status=503,
        next="retry 5s",
        detail="Service Unavailable",
        answer_head=b"\xff\x00<html>",
    )
    fewest = attempt(2, status=None, partitionkey=None, sequence=None, verdict="expired", next="dead letter")
    batch = [attempt(0), failed, fewest]
    record(database, batch)
    assert found(database) == tuple(reversed(batch))


def test_a_batch_recorded_again_leaves_no_duplicate(database: Database) -> None:
    batch = [attempt(number) for number in range(50)]
    record(database, batch[:30])
    record(database, batch)
    record(database, [])
    assert found(database) == tuple(reversed(batch))


def test_two_attempts_alike_in_one_millisecond_are_two_rows(database: Database) -> None:
    record(database, [attempt(0), attempt(0)])
    assert len(found(database)) == 2


def test_a_batch_that_failed_can_be_recorded_again(sqlite_url: str) -> None:
    batch = [attempt(number, detail="x" * 500) for number in range(1000)]
    with Database.open(sqlite_url) as database:
        with database.transaction() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages + 20}"))
        with pytest.raises(DatabaseUnavailableError, match="full"):
            record(database, batch)
        assert found(database) == ()
        with database.transaction() as connection:
            connection.execute(text("PRAGMA max_page_count = 1000000"))
        record(database, batch)
        record(database, batch)
        with database.snapshot() as connection:
            assert attempts.count(connection) == {"delivered": 1000}


def test_a_hostile_answer_does_not_spoil_the_batch(database: Database) -> None:
    hostile = attempt(1, verdict="failed", detail="\0\ud800 drop\x1b[2J", answer_head=b"\0\xff" * 5000)
    record(database, [attempt(0), hostile, attempt(2)])
    assert len(found(database)) == 3
    kept = found(database)[1]
    assert kept.detail == "\N{REPLACEMENT CHARACTER}? drop\x1b[2J"
    assert kept.answer_head == (b"\0\xff" * 5000)[:2048]


ROWS = [
    attempt(0, message_id="evt_a"),
    attempt(1, message_id="evt_a", endpoint_id="ep_two", verdict="failed", replay="rp_1"),
    attempt(2, message_id="evt_b", type="market.dam.closed", partitionkey="dam/2026-03-02"),
    attempt(3, message_id="evt_a", endpoint_id="ep_two", attempt=2),
    attempt(4, message_id="evt_b", endpoint_id="ep_six", verdict="superseded"),
]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [4, 3, 2, 1, 0]),
        (Filter(endpoint_ids=["ep_two"]), [3, 1]),
        (Filter(endpoint_ids=["ep_one", "ep_two", "ep_two"]), [3, 2, 1, 0]),
        (Filter(endpoint_ids=[]), []),
        (Filter(message_id="evt_b"), [4, 2]),
        (Filter(verdicts=["failed", "superseded"]), [4, 1]),
        (Filter(verdicts=["failed", "superseded", "corrupt"], message_id="evt_a"), [1]),
        (Filter(verdicts=["delivered", "failed"]), [3, 2, 1, 0]),
        (Filter(verdicts=["superseded"], since=NOON + 2 * SECOND, until=NOON + 9 * SECOND), [4]),
        (Filter(verdicts=["corrupt"]), []),
        (Filter(verdicts=[]), []),
        (Filter(type="market.dam.closed"), [2]),
        (Filter(partitionkey="15120034", endpoint_ids=["ep_one"]), [0]),
        (Filter(replay="rp_1"), [1]),
        (Filter(since=NOON + 2 * SECOND), [4, 3, 2]),
        (Filter(until=NOON + 2 * SECOND), [1, 0]),
        (Filter(since=NOON + SECOND, until=NOON + 4 * SECOND, message_id="evt_a"), [3, 1]),
    ],
)
def test_attempts_are_found_and_counted_by_every_filter(
    database: Database, wanted: Filter, numbers: list[int]
) -> None:
    record(database, ROWS)
    assert found(database, wanted) == tuple(ROWS[number] for number in numbers)
    with database.snapshot() as connection:
        counted = attempts.count(connection, wanted)
    verdicts = [ROWS[number].verdict for number in numbers]
    assert counted == {verdict: verdicts.count(verdict) for verdict in verdicts}


def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="naive"):
        found(database, Filter(since=NOON.replace(tzinfo=None)))


@given(
    seconds=st.lists(st.integers(0, 3), max_size=12),
    endpoint_ids=st.none() | st.sets(st.sampled_from(["ep_one", "ep_two", "ep_six"])),
    verdicts=st.none() | st.sets(st.sampled_from(VERDICTS)),
    type_=st.none() | st.sampled_from(TYPES),
    limit=st.integers(1, 5),
    patience=st.sampled_from([0, 60]),
)
def test_pages_together_are_the_whole_without_repetition(
    shared_sqlite: Database,
    *,
    seconds: list[int],
    endpoint_ids: set[str] | None,
    verdicts: set[str] | None,
    type_: str | None,
    limit: int,
    patience: float,
) -> None:
    choose = random.Random(len(seconds))
    rows = [
        attempt(
            one,
            endpoint_id=choose.choice(["ep_one", "ep_two", "ep_six"]),
            verdict=choose.choice(VERDICTS),
            type=choose.choice(TYPES),
        )
        for one in seconds
    ]
    seen: list[Attempt] = []
    wanted, cursor = Filter(endpoint_ids=endpoint_ids, verdicts=verdicts, type=type_), None
    with pytest.MonkeyPatch.context() as patch, shared_sqlite.transaction() as connection:
        patch.setattr(attempts, "PATIENCE", patience)
        attempts.record(connection, rows)
        for _ in range(len(rows) + 1):  # each page comes a moment further at least
            page = attempts.find(connection, wanted, cursor=cursor, limit=limit)
            assert page.back_to is None or page.cursor is not None
            seen += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        connection.rollback()
    assert cursor is None
    assert seen == sorted(
        (
            one
            for one in rows
            if (endpoint_ids is None or one.endpoint_id in endpoint_ids)
            and (verdicts is None or one.verdict in verdicts)
            and type_ in (None, one.type)
        ),
        reverse=True,
    )


@pytest.mark.parametrize("endpoint_ids", [None, ["ep_one"], ["ep_one", "ep_two", "ep_six"]])
def test_a_search_that_no_index_leads_stops_in_time_and_goes_on_where_it_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch, endpoint_ids: list[str] | None
) -> None:
    rare = attempt(0, type="market.dam.closed")
    record(database, [rare, *(attempt(number) for number in range(1, 500))])
    record(database, [attempt(number, endpoint_id="ep_two") for number in range(0, 500, 25)])
    monkeypatch.setattr(attempts, "PATIENCE", 0)
    wanted = Filter(type="market.dam.closed", endpoint_ids=endpoint_ids)
    with database.snapshot() as connection:
        first = attempts.find(connection, wanted, limit=10)
        assert first.rows == ()
        assert first.back_to is not None
        assert first.back_to >= NOON + 489 * SECOND  # it read ten and one
        assert first.cursor is not None
        rest = attempts.find(connection, wanted, cursor=first.cursor, limit=1000)
        assert attempts.newest(connection, wanted, 10) == [rare]
        assert len(attempts.newest(connection, Filter(), 30)) == 30
    assert rest == attempts.Found((rare,), None)


def test_a_search_goes_on_as_long_as_it_may(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = attempt(0, type="market.dam.closed")
    record(database, [rare, *(attempt(number) for number in range(1, 500))])
    monkeypatch.setattr(attempts, "PATIENCE", 60)
    monkeypatch.setattr(attempts, "IN_A_ROW", 20)
    with database.snapshot() as connection:
        found_ = attempts.find(connection, Filter(type="market.dam.closed"), limit=10)
    assert found_ == attempts.Found((rare,), None)


@pytest.mark.parametrize(
    "wanted", [Filter(endpoint_ids=["ep_one", "ep_two"]), Filter(verdicts=["failed", "superseded"]), Filter()]
)
def test_what_an_index_leads_to_is_there_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, wanted: Filter
) -> None:
    verdicts = ("failed", "superseded", "failed")
    batch = [
        attempt(number, endpoint_id=f"ep_{'two' if number % 3 else 'one'}", verdict=verdicts[number % 3])
        for number in range(60)
    ]
    record(database, batch)
    monkeypatch.setattr(attempts, "PATIENCE", 0)
    with database.snapshot() as connection:
        page = attempts.find(connection, wanted, limit=20)
    assert page.rows == tuple(reversed(batch[40:]))
    assert page.back_to is None


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(verdicts=["corrupt"]), "ix_attempts_by_verdict"),
        (Filter(verdicts=["corrupt", "failed"], type="market.dam.closed"), "ix_attempts_by_verdict"),
        (Filter(verdicts=["corrupt"], partitionkey="15120034"), "ix_attempts_by_outage"),
        (Filter(verdicts=["corrupt"], message_id="evt_one"), "ix_attempts_by_message"),
        (Filter(verdicts=["corrupt"], endpoint_ids=["ep_one"]), "ix_attempts_by_endpoint"),
        (Filter(type="market.dam.closed", endpoint_ids=["ep_one", "ep_two"]), "ix_attempts_by_endpoint"),
        (Filter(endpoint_ids=[f"ep_{number}" for number in range(300)]), "ix_attempts_by_endpoint"),
        (Filter(partitionkey="15120034", endpoint_ids=["ep_one", "ep_two"]), "ix_attempts_by_outage"),
        (Filter(message_id="evt_one", endpoint_ids=["ep_one", "ep_two"]), "ix_attempts_by_message"),
        (Filter(replay="rp_1", endpoint_ids=["ep_one", "ep_two"]), "ix_attempts_by_replay"),
        (Filter(verdicts=["corrupt"], replay="rp_1"), "ix_attempts_by_replay"),
        (Filter(replay="rp_1"), "ix_attempts_by_replay"),
    ],
)
def test_what_few_attempts_have_is_looked_up_and_not_read_from_all(
    shared_sqlite: Database, wanted: Filter, index: str
) -> None:
    asked: list[tuple[str, Any]] = []
    with shared_sqlite.snapshot() as connection:
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, parameters, *_: asked.append((statement, parameters)),
        )
        attempts.find(connection, wanted)
        for statement, parameters in tuple(asked):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [row.detail for row in plan]
            assert any(index in step for step in steps), steps


def test_what_was_delivered_to_an_endpoint_is_told_for_thousands_at_once(database: Database) -> None:
    batch = [attempt(0, message_id=f"evt_{number}") for number in range(6000)]
    batch += [attempt(0, message_id="evt_failed", verdict="failed")]
    batch += [attempt(0, message_id="evt_elsewhere", endpoint_id="ep_two")]
    batch += [attempt(0, message_id="evt_skipped", verdict="superseded")]
    record(database, batch)
    asked = [one.message_id for one in batch] + ["evt_unknown"]
    with database.snapshot() as connection:
        told = attempts.delivered(connection, "ep_one", asked)
        assert told == {f"evt_{number}" for number in range(6000)}
        both = ("delivered", "superseded")
        assert attempts.delivered(connection, "ep_one", asked, verdicts=both) == told | {"evt_skipped"}


def test_deliveries_to_many_endpoints_are_told_at_once(database: Database) -> None:
    batch = [
        attempt(0, message_id=f"evt_{number % 100}", endpoint_id=f"ep_{number}") for number in range(900)
    ]
    failed = attempt(0, message_id="evt_failed", verdict="failed")
    record(database, [*batch, failed, batch[0]._replace(id=1)])
    asked = [(one.endpoint_id, one.message_id) for one in batch]
    others = [("ep_one", "evt_failed"), ("ep_0", "evt_1"), ("ep_none", "evt_0")]
    with database.snapshot() as connection:
        assert attempts.arrived(connection, [*asked, *others]) == set(asked)
        assert attempts.arrived(connection, []) == set()


def test_old_attempts_are_forgotten_in_portions(database: Database) -> None:
    record(database, [attempt(number) for number in range(10)])
    forgotten: list[int] = []
    while not forgotten or forgotten[-1]:
        with database.transaction() as connection:
            forgotten.append(attempts.forget(connection, NOON + 8 * SECOND, limit=3))
    assert forgotten == [3, 3, 2, 0]
    assert [one.started_ms for one in found(database)] == [
        milliseconds(NOON + 9 * SECOND),
        milliseconds(NOON + 8 * SECOND),
    ]
