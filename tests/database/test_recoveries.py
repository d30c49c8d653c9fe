"""Recoveries that outlive the portal that ran them, as far as their rows tell."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimbus.database import Database, DuplicateError, NotFoundError, recoveries
from claimbus.database.audit import Act
from claimbus.database.recoveries import LOST, WHY_LOST, Recovery
from claimbus.events.errors import InvalidInputError

SECOND = timedelta(seconds=1)


def recovery(id_: str = "rv_one", endpoint: str = "ep_one", *, ago: timedelta = timedelta(0)) -> Recovery:
    """A recovery that was begun so long ago, and has given no sign since."""
    begun = datetime.now(UTC).replace(microsecond=0) - ago
    return Recovery(
        id=id_,
        endpoint_id=endpoint,
        participant_id="PGAE",
        actor="kay",
        reason="we lost a disk",
        since=begun - timedelta(hours=1),
        until=None,
        type="oms.#",
        everything=False,
        begun_at=begun,
        beat_at=begun,
    )


def test_how_far_one_is_and_how_it_ended_is_told_to_everybody(database: Database) -> None:
    begun = recovery()
    with database.transaction() as connection:
        recoveries.begin(connection, begun)
        assert recoveries.get(connection, begun.id) == begun
        later = begun.begun_at + SECOND
        assert recoveries.beat(connection, begun.id, read=3, total=9, now=later)
        assert recoveries.get(connection, begun.id) == replace(begun, read=3, total=9, beat_at=later)
        ended = replace(begun, state="done", ended_at=later, read=9, total=9, recovered={"redelivered": 2})
        recoveries.end(connection, ended)
        assert recoveries.get(connection, begun.id) == replace(ended, beat_at=later)
        with pytest.raises(NotFoundError):
            recoveries.get(connection, "rv_none")


def test_one_that_is_stopped_lives_no_more_and_stays_stopped(database: Database) -> None:
    begun, act = recovery(), Act("jane", "wrong day")
    with database.transaction() as connection:
        recoveries.begin(connection, begun)
        recoveries.stop(connection, begun.id, act)
        assert not recoveries.beat(connection, begun.id, read=3, total=9, now=begun.begun_at + SECOND)
        recoveries.end(connection, replace(begun, state="failed", ended_at=act.at, why="something else"))
        found = recoveries.get(connection, begun.id)
        assert (found.state, found.why) == ("stopped", "stopped by jane")
        with pytest.raises(InvalidInputError, match="does not run any more: it is stopped"):
            recoveries.stop(connection, begun.id, act)
        with pytest.raises(NotFoundError):
            recoveries.stop(connection, "rv_none", act)
        recoveries.begin(connection, recovery("rv_two"))


async def test_of_those_begun_at_once_for_an_endpoint_one_runs(database: Database) -> None:
    async def begin(number: int) -> bool:
        try:
            await database.run(lambda sql: recoveries.begin(sql, recovery(f"rv_{number}")))
        except DuplicateError:
            return False
        return True

    assert sum(await asyncio.gather(*map(begin, range(6)))) == 1
    await database.run(lambda sql: recoveries.begin(sql, recovery("rv_other", "ep_two")))


def test_one_that_gives_no_sign_has_failed_and_makes_way_for_another(database: Database) -> None:
    lost, now = recovery(ago=LOST), datetime.now(UTC)
    with database.transaction() as connection:
        recoveries.begin(connection, lost)
        found = recoveries.get(connection, lost.id)
        assert (found.state, found.why, found.ended_at) == ("failed", WHY_LOST, lost.beat_at)
        assert recoveries.find(connection).rows == (found,)
        assert not recoveries.beat(connection, lost.id, read=5, total=5, now=now)
        recoveries.begin(connection, recovery("rv_two"))
        recoveries.end(connection, replace(lost, state="done", ended_at=now))  # it comes back too late
        assert recoveries.get(connection, lost.id) == found
        assert recoveries.get(connection, "rv_two").state == "running"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2 * LOST // SECOND), max_size=8))
def test_one_may_go_on_as_long_as_no_pause_was_too_long(shared_sqlite: Database, pauses: list[int]) -> None:
    begun = recovery()
    with shared_sqlite.transaction() as connection:
        recoveries.begin(connection, begun)
        now, lives = begun.begun_at, True
        for pause in pauses:
            now += pause * SECOND
            lives = lives and pause * SECOND < LOST
            assert recoveries.beat(connection, begun.id, read=0, total=0, now=now) is lives
        connection.rollback()


def test_pages_of_one_s_own_follow_each_other_the_newest_first(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(7):
            one = recovery(f"rv_{number}", f"ep_{number % 2}", ago=(7 - number // 2) * timedelta(hours=1))
            recoveries.begin(connection, replace(one, participant_id=f"P{number % 3}", state="done"))
        seen, cursor = [], None
        while True:
            page = recoveries.find(connection, participant_ids=["P0", "P1"], cursor=cursor, limit=2)
            seen += [one.id for one in page.rows]
            if (cursor := page.cursor) is None:
                break
        assert seen == ["rv_6", "rv_4", "rv_3", "rv_1", "rv_0"]
        of_one = recoveries.find(connection, endpoint_id="ep_1").rows
        assert [one.id for one in of_one] == ["rv_5", "rv_3", "rv_1"]
        assert recoveries.find(connection, participant_ids=[]).rows == ()
        with pytest.raises(InvalidInputError, match="cursor"):
            recoveries.find(connection, cursor="what")


def test_old_ones_are_forgotten(database: Database) -> None:
    with database.transaction() as connection:
        recoveries.begin(connection, recovery("rv_old", ago=timedelta(days=90)))
        recoveries.begin(connection, recovery("rv_new"))
        before = datetime.now(UTC) - timedelta(days=1)
        assert recoveries.forget(connection, before) == 1
        assert recoveries.forget(connection, before) == 0
        assert [one.id for one in recoveries.find(connection).rows] == ["rv_new"]
