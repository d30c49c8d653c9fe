"""Jobs that deliver dead letters again: found, and steered by operators."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, update

from claimbus.database import Act, Database, NotFoundError, audit, replays
from claimbus.database.replays import Progress, Replay
from claimbus.database.schema import replays as jobs
from claimbus.events.errors import InvalidInputError
from tests.database.replaying import (
    ACT,
    LEASE_S,
    NOON,
    SECOND,
    claim,
    enter,
    is_waited_for,
    job,
    later,
    letter,
    line,
    send,
    states,
)
from tests.waiting import eventually


def test_jobs_are_found_by_who_made_them_and_whose_letters_they_have(database: Database) -> None:
    with database.transaction() as connection:
        made = [
            replays.create(
                connection,
                enter(
                    connection,
                    *(letter(10 * number + place, participant_id=one) for place, one in enumerate(owners)),
                ),
                later(number, actor),
                selection={},
                rate=None,
                canary=False,
            ).id
            for number, (actor, owners) in enumerate(
                (("kay", ("P1",)), ("kay", ("P1", "P2")), ("kay", ("P1", None)), ("jo", ("P1",)))
            )
        ]

        def found(**wanted: Any) -> list[int]:  # noqa: ANN401
            return [made.index(one.id) for one in replays.find(connection, **wanted).rows]

        assert found(actor="kay", participant_ids=["P1"]) == [0]
        assert found(actor="kay", participant_ids=["P1", "P2", "P3"]) == [1, 0]
        assert found(participant_ids=["P1"]) == [3, 0]
        assert found(actor="kay") == [2, 1, 0]
        assert found(participant_ids=[]) == found(actor="nobody") == []
        assert replays.participants_of(connection, made[2]) == {"P1", ""}
        assert replays.progresses(connection, made[:2]) == {
            made[0]: Progress(waiting=1),
            made[1]: Progress(waiting=2),
        }


def test_jobs_are_found_newest_first_page_by_page(database: Database) -> None:
    with database.transaction() as connection:
        made = [
            replays.create(
                connection,
                enter(connection, letter(number)),
                later(number // 2),
                selection={},
                rate=None,
                canary=False,
            )
            for number in range(5)
        ]
        replays.cancel(connection, made[2].id, later(9))
        newest = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
        first = replays.find(connection, limit=3)
        second = replays.find(connection, cursor=first.cursor, limit=3)
        assert [one.id for one in first.rows + second.rows] == [one.id for one in newest]
        assert (len(first.rows), second.cursor) == (3, None)
        (cancelled,) = replays.find(connection, ["cancelled"]).rows
        assert cancelled == replays.get(connection, made[2].id)
        assert replays.find(connection, []).rows == ()
        with pytest.raises(InvalidInputError, match="cursor"):
            replays.find(connection, cursor="what")


def test_items_are_found_by_state_page_by_page(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 7)
        send(connection, made.id, 3)
        first = replays.items(connection, made.id, limit=4)
        second = replays.items(connection, made.id, cursor=first.cursor, limit=4)
        assert [one.position for one in first.rows + second.rows] == list(range(7))
        assert (len(first.rows), second.cursor) == (4, None)
        assert [one.position for one in replays.items(connection, made.id, ["sent"]).rows] == [0, 1, 2]


def test_what_is_not_there_is_not_found(database: Database) -> None:
    with database.transaction() as connection:
        for look in (replays.get, replays.settle_state):
            with pytest.raises(NotFoundError, match="there is no replay 'rp_unknown'"):
                look(connection, "rp_unknown")
        for change in (replays.pause, replays.resume, replays.cancel):
            with pytest.raises(NotFoundError, match="there is no replay 'rp_unknown'"):
                change(connection, "rp_unknown", ACT)
        assert replays.progress(connection, "rp_unknown") == Progress()


def pause_by_itself(connection: Connection, replay_id: str, act: Act) -> Replay:
    return replays.pause_by_itself(connection, replay_id, act.reason)


Change = Callable[[Connection, str, Act], Replay]
STATES = ("running", "paused", "sent", "done", "cancelled")
MOVES: list[tuple[Change, dict[str, str]]] = [
    (replays.pause, {"running": "paused", "paused": "paused"}),
    (replays.resume, {"running": "running", "paused": "running"}),
    (replays.cancel, {"running": "cancelled", "paused": "cancelled"}),
    (pause_by_itself, {"running": "paused"} | {one: one for one in STATES[1:]}),
]


@pytest.mark.parametrize(("change", "becomes"), MOVES)
def test_a_job_is_steered_only_while_it_has_letters_to_send(
    database: Database, change: Change, becomes: dict[str, str]
) -> None:
    with database.transaction() as connection:
        for number, state in enumerate(STATES):
            made = job(connection, [letter(number)])
            connection.execute(update(jobs).filter_by(id=made.id).values(state=state))
            before = replays.get(connection, made.id)
            if state in becomes:
                after = change(connection, made.id, later(5))
                assert after.state == becomes[state]
            else:
                told = "has sent everything already" if state == "sent" else f"is {state} already"
                with pytest.raises(InvalidInputError, match=f"replay: {told}"):
                    change(connection, made.id, later(5))
                after = replays.get(connection, made.id)
            told_of = audit.find(connection, kind="replay", object_id=made.id).rows[:-1]
            if after.state == state:
                assert (after, told_of) == (before, ())
                continue
            assert (after.state_at > before.state_at, after.state_reason) == (True, "a reason")
            (entry,) = told_of
            assert (entry.reason, entry.before, entry.after) == (
                "a reason",
                {"state": state},
                {"state": after.state},
            )
            assert entry.actor == ("claimbus" if change is pause_by_itself else "john")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_of_two_operators_at_once_the_second_sees_what_the_first_did(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
    with database.transaction() as connection:
        replays.cancel(connection, made.id, ACT)
        pausing = asyncio.create_task(database.run(lambda sql: replays.pause(sql, made.id, later(1))))
        await eventually(lambda: is_waited_for(database))
    with pytest.raises(InvalidInputError, match="is cancelled already"):
        await pausing


def test_a_resume_forgets_what_returned_and_goes_on_with_the_next_stage(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 15, canary=True)

        def paused_and_resumed() -> Replay:
            connection.execute(update(jobs).values(returned_at=NOON, returned="failed, 503"))
            replays.pause_by_itself(connection, made.id, "the failure came back")
            return replays.resume(connection, made.id, later(5))

        early = paused_and_resumed()
        assert (early.returned_at, early.returned, early.resumed_at) == (None, None, NOON + 5 * SECOND)
        assert early.stage == 1
        send(connection, made.id, 1)
        assert paused_and_resumed().stage == 11
        send(connection, made.id, 5)
        assert paused_and_resumed().stage == 11
        send(connection, made.id, 5)
        assert paused_and_resumed().stage == 15


def test_keep_going_lets_everything_out_of_a_job_paused_or_not(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(2):
            made = job(connection, [letter(20 * number + row) for row in range(15)], canary=True)
            if number:
                replays.pause(connection, made.id, ACT)
            kept = replays.resume(connection, made.id, later(5), keep_going=True)
            assert (kept.state, kept.stage, kept.keep_going) == ("running", 15, True)
            assert replays.resume(connection, made.id, later(6), keep_going=True) == kept
            entry = audit.find(connection, kind="replay", object_id=made.id).rows[0]
            assert (entry.action, (entry.after or {})["stage"]) == ("resumed", 15)


def test_a_job_with_nothing_left_to_send_does_not_pause_by_itself(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 1)
        send(connection, made.id)
        assert replays.pause_by_itself(connection, made.id, "the failure came back") == made


def test_a_cancel_gives_back_what_was_not_sent_and_it_can_be_replayed_anew(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        send(connection, made.id, 1)
        cancelled = replays.cancel(connection, made.id, later(5))
        assert cancelled.ended_at == NOON + 5 * SECOND
        assert states(connection, made.id) == [
            ("sent", "replaying"),
            ("cancelled", "dead"),
            ("cancelled", "dead"),
        ]
        again = replays.create(
            connection,
            [item.letter.id for item in line(connection, made.id)],
            ACT,
            selection={},
            rate=None,
            canary=False,
        )
        assert again.total == 2


def test_a_cancel_waits_for_the_runner_to_tell_what_it_has_sent(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        replays.take(connection, "a", NOON, lease_s=LEASE_S)
        claim(connection, made.id, 2)
        assert replays.cancel(connection, made.id, later(1)).ended_at is None
        assert not replays.any_to_take(connection, "b", NOON + 2 * SECOND)
        replays.take(connection, "b", NOON + 2 * SECOND, lease_s=LEASE_S)
        replays.mark_sent(connection, made.id, [0])
        assert states(connection, made.id)[:2] == [("sent", "replaying"), ("sending", "replaying")]


def test_what_a_lost_runner_left_of_a_cancelled_job_is_given_back(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        replays.take(connection, "a", NOON, lease_s=LEASE_S)
        claim(connection, made.id, 1)
        replays.cancel(connection, made.id, later(1))
        after = NOON + 16 * SECOND
        assert replays.any_to_take(connection, "b", after)
        assert replays.take(connection, "b", after, lease_s=LEASE_S) is None
        assert not replays.any_to_take(connection, "b", after)
        assert replays.get(connection, made.id).ended_at == after
        assert states(connection, made.id) == [("cancelled", "dead")] * 3
        assert line(connection, made.id)[0].detail == "it is not known whether it was sent"


def test_ended_jobs_are_forgotten_in_portions(database: Database) -> None:
    with database.transaction() as connection:
        old, open_ = job(connection, 5), job(connection, [letter(9)])
        replays.cancel(connection, old.id, later(1))
        gone = [replays.forget(connection, NOON + 2 * SECOND, limit=3) for _ in range(3)]
        assert gone == [3, 2, 0]
        assert [one.id for one in replays.find(connection).rows] == [open_.id]
        assert replays.progress(connection, open_.id) == Progress(waiting=1)
