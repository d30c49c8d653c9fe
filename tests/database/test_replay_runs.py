"""Jobs are carried out by one runner at a time, and nothing is sent twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from claimbus.database import Database, replays
from claimbus.database.replays import Progress
from claimbus.database.schema import replay_items
from tests.database.processes import together
from tests.database.replaying import ACT, LEASE_S, NOON, SECOND, claim, job, letter, line, send, states


def test_a_job_is_taken_by_one_runner_until_its_lease_runs_out(database: Database) -> None:
    take = replays.take
    with database.transaction() as connection:
        assert take(connection, "a", NOON, lease_s=LEASE_S) is None
        made = job(connection)
        taken = take(connection, "a", NOON, lease_s=LEASE_S)
        assert taken == replace(made, runner="a", leased_until=NOON + timedelta(seconds=LEASE_S))
        for moment in (NOON, NOON + 14 * SECOND):
            assert not replays.any_to_take(connection, "b", moment)
            assert take(connection, "b", moment, lease_s=LEASE_S) is None
        assert take(connection, "a", NOON + SECOND, lease_s=LEASE_S) is not None
        assert take(connection, "a", NOON + SECOND, lease_s=LEASE_S, besides=[made.id]) is None
        assert not replays.any_to_take(connection, "a", NOON + SECOND, besides=[made.id])
        assert replays.any_to_take(connection, "b", NOON + 16 * SECOND)
        assert take(connection, "b", NOON + 16 * SECOND, lease_s=LEASE_S) is not None
        assert replays.renew(connection, made.id, "a", NOON + 17 * SECOND, LEASE_S) is None
        kept = replays.renew(connection, made.id, "b", NOON + 17 * SECOND, LEASE_S)
        assert kept is not None
        assert kept.leased_until == NOON + 32 * SECOND
        replays.release(connection, made.id, "a")
        assert take(connection, "a", NOON + 18 * SECOND, lease_s=LEASE_S) is None
        replays.release(connection, made.id, "b")
        assert take(connection, "a", NOON + 18 * SECOND, lease_s=LEASE_S) is not None


def test_running_jobs_are_taken_before_sent_ones_and_the_longest_left_alone_first(database: Database) -> None:
    with database.transaction() as connection:
        first, second, third = (job(connection, [letter(number)]) for number in range(3))
        send(connection, first.id)
        replays.settle_state(connection, first.id)
        replays.pause(connection, third.id, ACT)
        fourth = job(connection, [letter(3)])
        taken = []
        for seconds in range(4):
            one = replays.take(connection, "a", NOON + seconds * SECOND, lease_s=LEASE_S)
            assert one is not None
            taken.append(one.id)
        assert set(taken[:2]) == set(taken[2:]) == {second.id, fourth.id}
        busy = replays.take(connection, "a", NOON, lease_s=LEASE_S, besides=taken)
        assert busy is not None
        assert (busy.id, busy.state) == (first.id, "sent")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_job_that_is_being_taken_is_not_waited_for(database: Database) -> None:
    with database.transaction() as connection:
        job(connection)
    with database.transaction() as one, database.transaction() as another:
        assert replays.take(one, "a", NOON, lease_s=LEASE_S) is not None
        assert replays.take(another, "b", NOON, lease_s=LEASE_S) is None


RUNNING = """
import sys
from datetime import UTC, datetime
from claimbus.database import Database, replays
url, name, lease_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
database = Database.open(url)
empty = []

def take(connection):
    return replays.take(connection, name, datetime.now(UTC), lease_s=lease_s, besides=empty)

def claim(connection, job):
    if replays.renew(connection, job.id, name, datetime.now(UTC), lease_s) is None:
        return None
    return replays.claim_items(connection, job.id, 7, below=job.total)
"""
RUN = """
while True:
    with database.transaction() as connection:
        job = take(connection)
    if job is None:
        break
    with database.transaction() as connection:
        items = claim(connection, job)
    if items == []:
        empty.append(job.id)
    for item in items or ():
        print(job.id, item.position, "unsure" if item.unsure else "fresh")
    with database.transaction() as connection:
        replays.mark_sent(connection, job.id, [item.position for item in items or ()])
database.close()
"""


@pytest.mark.parametrize("lease_s", ["15", "0"])
def test_runners_at_once_claim_every_letter_once(database_url: str, lease_s: str) -> None:
    with Database.open(database_url) as database:
        with database.transaction() as connection:
            made = [job(connection, [letter(30 * one + row) for row in range(30)]) for one in range(4)]
        told = together(RUNNING, RUN, [[database_url, name, lease_s] for name in "abc"])
        lines = [line for one in told for line in one.splitlines()]
        fresh = sorted(line for line in lines if line.endswith("fresh"))
        assert fresh == sorted(f"{one.id} {position} fresh" for one in made for position in range(30))
        if lease_s == "15":
            assert len(lines) == len(fresh)  # nobody's job was taken over
        with database.snapshot() as connection:
            assert all(replays.progress(connection, one.id) == Progress(sent=30) for one in made)


def test_items_are_claimed_in_order_and_never_beyond_the_stage(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 8)
        assert claim(connection, made.id, 3, below=2) == [(0, False), (1, False)]
        replays.mark_sent(connection, made.id, [0, 1])
        assert claim(connection, made.id, 3, below=2) == []
        assert claim(connection, made.id, 3) == [(2, False), (3, False), (4, False)]
        assert replays.progress(connection, made.id) == Progress(waiting=3, sending=3, sent=2)


def test_what_may_have_been_sent_before_a_crash_comes_first_and_unsure(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 6)
        claim(connection, made.id, 3)
        replays.mark_sent(connection, made.id, [1])
        assert claim(connection, made.id, 4) == [(0, True), (2, True), (3, False), (4, False)]
        assert claim(connection, made.id, 2) == [(0, True), (2, True)]


def test_nothing_is_claimed_of_a_job_that_was_paused_or_cancelled_meanwhile(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        claim(connection, made.id, 1)
        replays.pause(connection, made.id, ACT)
        assert claim(connection, made.id, 5) == []
        replays.cancel(connection, made.id, ACT)
        assert claim(connection, made.id, 5) == []


def test_an_item_whose_letter_was_forgotten_is_skipped(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        forgotten = update(replay_items).where(replay_items.c.position == 1)
        connection.execute(forgotten.values(letter_id="dl_forgotten"))
        assert claim(connection, made.id, 5) == [(0, False), (2, False)]
        assert replays.progress(connection, made.id) == Progress(sending=2, skipped=1)
        assert [item.position for item in line(connection, made.id)] == [0, 2]


def test_skipping_tells_why_and_leaves_the_letter_dead(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 4)
        claim(connection, made.id, 2)
        replays.mark_sent(connection, made.id, [0])
        replays.mark_skipped(connection, made.id, {0: "gone", 1: "gone", 2: "held"})
        assert states(connection, made.id) == [
            ("sent", "replaying"),
            ("skipped", "dead"),
            ("skipped", "dead"),
            ("waiting", "replaying"),
        ]
        assert [item.detail for item in line(connection, made.id)] == ["", "gone", "held", ""]


def test_a_stage_is_raised_and_never_taken_back(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 15, canary=True)
        stages = [made.stage]
        while made.stage < made.total:
            made = replays.advance(connection, made.id, made.next_stage)
            stages.append(made.stage)
        assert stages == [1, 11, 15]
        assert replays.advance(connection, made.id, 11).stage == 15
    assert [replace(made, total=total, stage=1).next_stage for total in (1, 5, 11, 12)] == [1, 5, 11, 11]


def test_a_job_is_sent_when_nothing_waits_and_done_when_nothing_is_open(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection)
        assert replays.settle_state(connection, made.id) == made
        send(connection, made.id, 2)
        claim(connection, made.id, 1)
        assert replays.settle_state(connection, made.id) == made
        replays.mark_sent(connection, made.id, [2])
        sent = replays.settle_state(connection, made.id)
        assert (sent.state, sent.ended_at) == ("sent", None)
        assert replays.settle_state(connection, made.id) == sent
        arrived = update(replay_items).where(replay_items.c.replay_id == made.id)
        connection.execute(arrived.values(state="delivered"))
        done = replays.settle_state(connection, made.id)
        assert (done.state, done.ended_at) == ("done", done.state_at)
        assert replays.settle_state(connection, made.id) == done


def test_a_job_of_which_everything_is_skipped_is_done_at_once(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 2)
        replays.mark_skipped(connection, made.id, {0: "gone", 1: "gone"})
        assert replays.settle_state(connection, made.id).state == "done"
