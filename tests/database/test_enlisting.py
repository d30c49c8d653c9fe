"""Making jobs: which letters, in which order, and each in one job only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import Database, audit, letters, replays
from claimbus.database.enlisting import DOUBLE
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Progress
from claimbus.events.errors import InvalidInputError
from tests.database.processes import together
from tests.database.replaying import ACT, NOON, enter, job, later, letter, line


def _age(numbered: tuple[int, DeadLetter]) -> tuple[int, int, int]:
    number, one = numbered
    return one.timestamp or 0, -1 if one.sequence is None else one.sequence, number


def in_turn(rows: list[DeadLetter]) -> list[str]:
    """The order of sending, told once more: in each round every endpoint's next, the oldest event first."""
    by_age = sorted(enumerate(rows), key=_age)
    turns: dict[str | None, int] = {}
    placed = []
    for _, one in by_age:
        turns[one.endpoint_id] = turns.get(one.endpoint_id, 0) + 1
        placed.append((turns[one.endpoint_id], one.endpoint_id or "", one.id))
    return [id_ for _, _, id_ in sorted(placed)]


events = st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.none() | st.integers(0, 3))


@given(st.lists(events, min_size=1, max_size=20))
def test_endpoints_take_turns_and_each_gets_its_oldest_event_first(
    shared_sqlite: Database, told: list[tuple[str, int, int | None]]
) -> None:
    rows = [
        letter(number, endpoint_id=f"ep_{endpoint}", timestamp=timestamp, sequence=sequence)
        for number, (endpoint, timestamp, sequence) in enumerate(told)
    ]
    with shared_sqlite.transaction() as connection:
        made = job(connection, rows)
        lined_up = line(connection, made.id)
        connection.rollback()
    assert [item.letter.id for item in lined_up] == in_turn(rows)
    assert [item.position for item in lined_up] == list(range(len(rows)))


def test_the_order_of_sending_is_the_same_on_every_database(database: Database) -> None:
    rows = [
        letter(number, endpoint_id=f"ep_{number % 3}", timestamp=number % 5, sequence=number % 4 or None)
        for number in range(60)
    ]
    with database.transaction() as connection:
        assert [item.letter.id for item in line(connection, job(connection, rows).id)] == in_turn(rows)


def test_a_job_has_the_letters_that_are_still_dead_and_tells_who_made_it(database: Database) -> None:
    with database.transaction() as connection:
        ids = enter(connection, *(letter(number) for number in range(4)))
        letters.discard(connection, ids[:1], ACT)
        first = replays.create(connection, ids[:2], ACT, selection={"ids": 2}, rate=50, canary=False)
        rest = replays.create(connection, ids, later(1), selection={}, rate=None, canary=True)
        assert [item.letter.id for item in line(connection, first.id)] == ids[1:2]
        assert [item.letter.id for item in line(connection, rest.id)] == ids[2:]
        assert [letters.get(connection, one).state for one in ids] == ["discarded", *["replaying"] * 3]
        assert letters.get(connection, ids[3]).replay_id == rest.id
        entries = audit.find(connection, kind="replay").rows
    assert (first.state, first.actor, first.reason, first.created_at) == (
        "running",
        ACT.actor,
        ACT.reason,
        NOON,
    )
    assert (first.selection, first.rate, first.canary, first.stage, first.total) == (
        {"ids": 2},
        50,
        False,
        1,
        1,
    )
    assert (rest.rate, rest.canary, rest.stage, rest.total) == (None, True, 1, 2)
    assert [(one.action, one.object_id, one.actor) for one in entries] == [
        ("created", rest.id, "john"),
        ("created", first.id, "jane"),
    ]
    assert entries[1].after == {
        "letters": 1,
        "skipped": 0,
        "rate": 50,
        "canary": False,
        "selection": {"ids": 2},
    }


def test_what_is_skipped_stays_dead_behind_what_is_sent(database: Database) -> None:
    with database.transaction() as connection:
        ids = enter(connection, *(letter(number) for number in range(4)))
        letters.discard(connection, ids[3:], ACT)
        skipped = {ids[0]: "the endpoint was removed", ids[3]: "the body is gone"}
        made = replays.create(connection, ids, ACT, selection={}, rate=None, canary=True, skipped=skipped)
        found = [(item.letter.id, item.state, item.detail) for item in line(connection, made.id)]
        assert found == [
            (ids[1], "waiting", ""),
            (ids[2], "waiting", ""),
            (ids[0], "skipped", "the endpoint was removed"),
        ]
        assert letters.get(connection, ids[0]).state == "dead"
        assert replays.progress(connection, made.id) == Progress(waiting=2, skipped=1)
        assert made.total == replays.progress(connection, made.id).total == 3


def test_one_delivery_is_in_a_job_once_by_its_newest_letter(database: Database) -> None:
    twins = [letter(1), letter(2, message_id="evt_1", replay="rc_1"), letter(3, message_id="evt_1")]
    others = [
        letter(4, message_id="evt_1", endpoint_id="ep_two"),
        letter(5, message_id=None),
        letter(6, message_id=None),
    ]
    with database.transaction() as connection:
        made = job(connection, [*twins, *others])
        found = {
            item.letter.id: (item.state, item.detail, item.letter.state) for item in line(connection, made.id)
        }
    double, waiting = ("skipped", DOUBLE, "dead"), ("waiting", "", "replaying")
    expected = [double, double, *[waiting] * 4]
    assert found == dict(zip([one.id for one in (*twins, *others)], expected, strict=True))


def test_a_job_that_would_send_nothing_is_not_made(database: Database) -> None:
    with database.transaction() as connection:
        ids = enter(connection, letter(1), letter(2))
        letters.discard(connection, ids[:1], ACT)
        entries = len(audit.find(connection).rows)
        for chosen, skipped in ((ids, {ids[1]: "gone"}), (ids[:1], {}), (["dl_unknown"], {}), ([], {})):
            with pytest.raises(InvalidInputError, match="selection"):
                replays.create(connection, chosen, ACT, selection={}, rate=None, canary=True, skipped=skipped)
        assert replays.find(connection).rows == ()
        assert len(audit.find(connection).rows) == entries
        assert letters.get(connection, ids[1]).state == "dead"


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(database: Database, rate: float) -> None:
    with database.transaction() as connection, pytest.raises(InvalidInputError, match="rate"):
        job(connection, rate=rate)


def test_a_selection_may_be_longer_than_a_statement_has_parameters(database: Database) -> None:
    with database.transaction() as connection:
        unknown = [f"dl_unknown_{number}" for number in range(70_000)]
        ids = unknown + enter(connection, letter(1), letter(2))
        skipped = {**dict.fromkeys(unknown, "gone"), ids[-1]: "gone"}
        made = replays.create(connection, ids, ACT, selection={}, rate=None, canary=False, skipped=skipped)
    assert made.total == 2


CREATING = """
import sys
from claimbus.database import Act, Database, replays
from claimbus.events.errors import InvalidInputError
url, order = sys.argv[1:]
ids = [f"dl_{number:020}" for number in range(400)]
ids = {"up": ids, "down": ids[::-1], "late": ids[200:] + ids[:200]}[order]
database = Database.open(url)
"""
CREATE = """
for start in (0, 100, 200, 300):
    try:
        with database.transaction() as connection:
            made = replays.create(
                connection, ids[start:start + 250], Act(order), selection={}, rate=None, canary=False
            )
            print(made.total)
    except InvalidInputError as nothing_left:
        assert nothing_left.field == "selection"
database.close()
"""


def test_operators_at_once_never_get_one_letter_into_two_jobs(database_url: str) -> None:
    with Database.open(database_url) as database:
        with database.transaction() as connection:
            ids = enter(connection, *(letter(number) for number in range(400)))
        told = together(CREATING, CREATE, [[database_url, order] for order in ("up", "down", "late")])
        assert sum(int(count) for one in told for count in one.split()) == 400
        with database.snapshot() as connection:
            made = replays.find(connection).rows
            taken = [(item.letter.id, one.id) for one in made for item in line(connection, one.id)]
            assert sorted(taken) == [(one, letters.get(connection, one).replay_id) for one in ids]
