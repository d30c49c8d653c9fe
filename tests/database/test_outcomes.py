"""Attempts tell what became of replayed letters; it is settled in their transaction."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event

from claimbus.database import Act, Database, letters, outcomes, replays
from claimbus.database.letters import DeadLetter, Filter
from claimbus.database.replays import Progress, Replay
from claimbus.events.fingerprint import fingerprint
from consumers.recorder import Recorder
from tests.database.processes import together
from tests.database.replaying import (
    ACT,
    NOON,
    SECOND,
    attempt,
    enter,
    failed,
    is_waited_for,
    job,
    letter,
    send,
    states,
)
from tests.waiting import eventually


def sent(connection: Connection, count: int = 3) -> tuple[Replay, list[DeadLetter]]:
    """A job of which everything is sent, and its letters in the order of sending."""
    made = job(connection, count)
    send(connection, made.id)
    return made, [item.letter for item in replays.items(connection, made.id, limit=1000).rows]


@contextmanager
def counted(connection: Connection) -> Iterator[list[str]]:
    """Collect the statements that are executed."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    yield found
    event.remove(connection, "before_cursor_execute", note)


@pytest.mark.parametrize("verdict", ["delivered", "superseded"])
def test_what_arrived_is_delivered_letter_and_item(database: Database, verdict: str) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection)
        outcomes.record(connection, [attempt(rows[1], made.id, verdict=verdict)])
        settled = replays.items(connection, made.id, ["delivered"]).rows
        assert states(connection, made.id) == [
            ("sent", "replaying"),
            ("delivered", "delivered"),
            ("sent", "replaying"),
        ]
    assert [(item.letter.id, item.detail) for item in settled] == [(rows[1].id, verdict)]
    assert settled[0].letter.state_reason == f"{verdict} by {made.id}"
    assert settled[0].letter.state_at == settled[0].state_at == NOON + 60 * SECOND


def test_a_recovery_settles_dead_letters_of_the_same_delivery_only(database: Database) -> None:
    rows = [
        letter(1),
        letter(2, message_id="evt_1"),
        letter(3),
        letter(4, message_id="evt_1", endpoint_id="ep_two"),
        letter(5, message_id="evt_5"),
    ]
    with database.transaction() as connection:
        ids = enter(connection, *rows)
        letters.discard(connection, ids[1:2], ACT)
        replays.create(connection, ids[4:], ACT, selection={}, rate=None, canary=False)
        outcomes.settle(connection, [attempt(rows[0], "rc_1"), attempt(rows[4], "rc_1")])
        found = [letters.get(connection, one) for one in ids]
    assert [one.state for one in found] == ["delivered", "discarded", "dead", "dead", "replaying"]
    assert found[0].state_reason == "delivered by rc_1"


def test_an_attempt_that_is_no_replay_costs_nothing_and_settles_nothing(database: Database) -> None:
    with database.transaction() as connection:
        (id_,) = enter(connection, letter(1))
        with counted(connection) as statements:
            outcomes.settle(connection, [attempt(letter(1), None)] * 1000)
        assert statements == []
        assert letters.get(connection, id_).state == "dead"


def test_a_batch_takes_few_statements_however_many_letters_it_settles(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 300)
        batch = [attempt(one, made.id) for one in rows[:150]]
        batch += [failed(one, made.id, detail=f"error {one.id}") for one in rows[150:]]
        with counted(connection) as statements:
            outcomes.settle(connection, batch)
        assert len(statements) <= 5
        assert replays.progress(connection, made.id) == Progress(sent=150, delivered=150)
        noted = replays.items(connection, made.id, ["sent"], limit=1000).rows
        assert [item.detail for item in noted] == [f"failed, 503: error {one.id}" for one in rows[150:]]


def test_to_settle_again_changes_nothing(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection)
        batch = [attempt(rows[0], made.id), failed(rows[1], made.id), attempt(rows[2], "rc_1")]
        outcomes.record(connection, batch)
        once = replays.get(connection, made.id), replays.items(connection, made.id)
        outcomes.record(connection, batch)
        assert (replays.get(connection, made.id), replays.items(connection, made.id)) == once
        outcomes.settle(connection, [failed(rows[0], made.id)])
        assert states(connection, made.id)[0] == ("delivered", "delivered")


def test_a_retry_that_arrives_in_the_batch_of_its_failure_is_delivered(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 1)
        outcomes.settle(connection, [failed(rows[0], made.id), attempt(rows[0], made.id)])
        assert states(connection, made.id) == [("delivered", "delivered")]
        assert replays.items(connection, made.id).rows[0].detail == "delivered"


@pytest.mark.parametrize(
    ("change", "returns"),
    [
        ({}, True),
        ({"next": "dead letter: attempts exhausted"}, True),
        ({"next": "keep"}, False),
        ({"next": "disable endpoint"}, False),
        ({"status": 500}, False),
        ({"status": None, "detail": "connection refused"}, False),
        ({"replay": "rp_another"}, False),
        ({"message_id": "evt_another"}, False),
        ({"endpoint_id": "ep_two"}, False),
    ],
)
def test_a_failure_has_returned_when_it_is_the_letters_own(
    database: Database, change: dict[str, object], returns: bool
) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 1)
        outcomes.settle(connection, [failed(rows[0], made.id)._replace(**change)])  # type: ignore[arg-type]
        after = replays.get(connection, made.id)
    told = (NOON + 60 * SECOND, "failed, 503: Service Unavailable") if returns else (None, None)
    assert (after.returned_at, after.returned) == told
    assert after.state == made.state


def test_what_differs_each_time_does_not_hide_a_failure_that_returns(database: Database) -> None:
    detail = "connection to 10.0.0.{} refused after {} ms"
    group = fingerprint("attempts exhausted", None, detail.format(1, 250))
    row = letter(1, fingerprint=group.id, status=None, detail=detail.format(1, 250))
    with database.transaction() as connection:
        made = job(connection, [row])
        send(connection, made.id)
        outcomes.settle(connection, [failed(row, made.id, status=None, detail=detail.format(2, 13))])
        assert (
            replays.get(connection, made.id).returned == "failed: connection to 10.0.0.2 refused after 13 ms"
        )


def test_the_first_return_of_a_failure_is_told(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 2)
        for number, row in enumerate(rows):
            outcomes.settle(connection, [failed(row, made.id, started_ms=number)])
        returned = replays.get(connection, made.id).returned_at
    assert returned is not None
    assert returned.timestamp() == 0


def test_an_attempt_from_before_the_resume_does_not_return_the_failure(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 2)
        (first,) = send(connection, made.id, 1)
        (row,) = replays.items(connection, made.id, ["sent"]).rows
        replays.pause(connection, made.id, ACT)
        replays.resume(connection, made.id, Act("john", at=NOON + 60 * SECOND))
        outcomes.settle(
            connection, [failed(row.letter, made.id, started_ms=attempt(row.letter, None).started_ms - 1)]
        )
        assert replays.get(connection, made.id).returned is None
        outcomes.settle(connection, [failed(row.letter, made.id)])
        assert replays.get(connection, made.id).returned is not None
    assert first == 0


def test_a_job_that_keeps_going_is_told_of_no_return(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 1)
        replays.resume(connection, made.id, ACT, keep_going=True)
        outcomes.settle(connection, [failed(rows[0], made.id)])
        assert replays.get(connection, made.id).returned is None
        assert replays.items(connection, made.id).rows[0].detail == "failed, 503: Service Unavailable"


def test_an_outcome_before_the_mark_stays(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        claimed = replays.claim_items(connection, made.id, 3, below=3)
        outcomes.settle(connection, [attempt(claimed[0].letter, made.id)])
        died_again(connection, claimed[1].letter, made.id)
        replays.mark_sent(connection, made.id, [0, 1, 2])
        assert states(connection, made.id) == [
            ("delivered", "delivered"),
            ("dead again", "dead again"),
            ("sent", "replaying"),
        ]


def died_again(connection: Connection, old: DeadLetter, replay: str) -> str:
    (newer,) = enter(connection, letter(1000, message_id=old.message_id, replay=replay))
    return newer


def test_a_letter_that_died_again_is_delivered_by_its_successor(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 1)
        newer = died_again(connection, rows[0], made.id)
        outcomes.settle(connection, [attempt(rows[0], "rc_1")])
        found = letters.find(connection, Filter(states=None)).rows
        assert {one.id: one.state for one in found} == {newer: "delivered", rows[0].id: "dead again"}
        assert replays.progress(connection, made.id) == Progress(dead_again=1)


def test_outcomes_of_a_cancelled_job_are_settled_too(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        send(connection, made.id, 1)
        replays.take(connection, "a", NOON, lease_s=1)
        replays.claim_items(connection, made.id, 1, below=3)
        replays.cancel(connection, made.id, ACT)
        replays.take(connection, "b", NOON + 5 * SECOND, lease_s=1)
        rows = [item.letter for item in replays.items(connection, made.id).rows]
        assert states(connection, made.id) == [("sent", "replaying"), *[("cancelled", "dead")] * 2]
        outcomes.settle(connection, [attempt(one, made.id) for one in rows[:2]])
        assert states(connection, made.id) == [*[("delivered", "delivered")] * 2, ("cancelled", "dead")]
        assert replays.get(connection, made.id).state == "cancelled"


def test_a_hostile_answer_does_not_spoil_the_batch(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 2)
        hostile = failed(rows[0], made.id, detail="\0\ud800 drop\x1b[2J" + "x" * 500)
        outcomes.record(connection, [hostile, attempt(rows[1], made.id)])
        first, second = replays.items(connection, made.id).rows
    assert first.detail.startswith("failed, 503: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} drop")
    assert len(first.detail) == outcomes.NOTE_LENGTH
    assert second.state == "delivered"


async def test_the_workers_recorder_settles_in_the_transaction_of_the_attempt(database: Database) -> None:
    with database.transaction() as connection:
        made, rows = sent(connection, 1)
    recorder = Recorder(database)
    recorded = asyncio.Event()
    recorder.record(attempt(rows[0], made.id), recorded.set)
    recorder.close()
    await recorder.run()
    assert recorded.is_set()
    with database.snapshot() as connection:
        assert states(connection, made.id) == [("delivered", "delivered")]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_what_an_operator_does_to_a_letter_meanwhile_is_respected(database: Database) -> None:
    with database.transaction() as connection:
        (id_,) = enter(connection, letter(1))
    with database.transaction() as connection:
        letters.discard(connection, [id_], ACT)
        settling = asyncio.create_task(
            database.run(lambda sql: outcomes.settle(sql, [attempt(letter(1), "rc_1")]))
        )
        await eventually(lambda: is_waited_for(database))
    await settling
    with database.snapshot() as connection:
        assert letters.get(connection, id_).state == "discarded"


MARKING = """
import random, sys
from claimbus.database import Database, outcomes, replays
from tests.database.replaying import failed
url, work, replay_id = sys.argv[1:]
database = Database.open(url)
with database.snapshot() as connection:
    items = replays.items(connection, replay_id, limit=1000).rows
attempts = [failed(item.letter, replay_id) for item in items]
"""
MARK = """
for _ in range(25):
    random.shuffle(attempts)
    with database.transaction() as connection:
        if work == "settle":
            outcomes.settle(connection, attempts)
        else:
            replays.mark_sent(connection, replay_id, [item.position for item in items])
            connection.exec_driver_sql("UPDATE replay_items SET state = 'sending' WHERE state = 'sent'")
database.close()
"""


def test_workers_and_a_runner_tell_of_the_same_items_at_once(database_url: str) -> None:
    with Database.open(database_url) as database, database.transaction() as connection:
        rows = [letter(number, id=f"dl_{number * 7919 % 1000:020}") for number in range(200)]
        made = job(connection, rows)
        replays.claim_items(connection, made.id, 200, below=200)
    together(MARKING, MARK, [[database_url, work, made.id] for work in ("settle", "settle", "mark")])
