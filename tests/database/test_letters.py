"""Dead letters: one row each, however often they come; found by every filter; discarded and restored."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import Act, Database, NotFoundError, audit, kept, letters
from claimbus.database.kept import KeptClaim
from claimbus.database.letters import EVERYTHING, DeadLetter, Filter, State
from claimbus.database.schema import letters as table
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import is_event_type
from claimbus.events.fingerprint import fingerprint
from claimbus.events.routing import check_pattern, matches
from tests.database.replaying import ACT, NOON, SECOND, UNAVAILABLE, enter, job, letter, send, states

DAY = timedelta(days=1)


def found(database: Database, wanted: Filter = EVERYTHING) -> tuple[DeadLetter, ...]:
    with database.snapshot() as connection:
        return letters.find(connection, wanted).rows


def state_of(database: Database, letter_id: str) -> State:
    with database.snapshot() as connection:
        return letters.get(connection, letter_id).state


def kept_claim(one: DeadLetter) -> KeptClaim:
    assert one.claim_id is not None
    return KeptClaim(one.claim_id, frozenset({"PGAE"}), 4, 9, 0, one.died_at, b"\x00body")


def test_a_letter_has_the_columns_of_its_table() -> None:
    assert ["number", *asdict(letter(1))] == [column.name for column in table.columns]


def test_what_was_recorded_is_found_newest_first(database: Database) -> None:
    undecodable = DeadLetter(
        id="dl_raw",
        state_at=NOON,
        died_at=NOON,
        cause="undecodable",
        fingerprint="aaaa",
        detail="",
        attempts=0,
        raw=b"\x00\xff",
    )
    whole = letter(1, partitionkey="15120034", sequence=2**40, traceparent="00-4b-00-01", replay="rc_1")
    with database.transaction() as connection:
        enter(connection, whole, undecodable)
    assert found(database) == (undecodable, whole)


@pytest.mark.parametrize("again", [slice(0, 50), slice(20, 30), slice(49, 50)])
def test_the_same_letter_twice_is_one_row(database: Database, again: slice) -> None:
    batch = [letter(number) for number in range(50)]
    claims = [kept_claim(one) for one in batch]
    with database.transaction() as connection:
        assert letters.record(connection, batch[:30], [UNAVAILABLE], claims[:30]) == 30
    with database.transaction() as connection:
        assert letters.record(connection, batch, [UNAVAILABLE], claims) == 20
        assert letters.record(connection, batch[again], [UNAVAILABLE], claims[again]) == 0
        assert letters.record(connection, [], [], []) == 0
        assert letters.count(connection, by="state") == {"dead": 50}
        assert kept.stored_bytes(connection) == 50 * 9


def test_a_letter_that_comes_again_does_not_undo_what_became_of_it(database: Database) -> None:
    with database.transaction() as connection:
        (one,) = enter(connection, letter(1))
        letters.discard(connection, [one], ACT)
        enter(connection, letter(1))
    assert state_of(database, one) == "discarded"


def test_nothing_is_kept_of_a_batch_that_was_not_committed(database: Database) -> None:
    batch = [letter(number) for number in range(3)]
    with database.transaction() as connection:
        letters.record(connection, batch, [UNAVAILABLE], [kept_claim(one) for one in batch])
        connection.rollback()
    assert found(database) == ()
    with database.snapshot() as connection:
        assert kept.stored_bytes(connection) == 0


def test_a_hostile_letter_does_not_spoil_the_batch(database: Database) -> None:
    long = "\N{GRINNING FACE}" * 5000
    hostile = letter(
        1,
        detail="\0\ud800 drop\x1b[2J",
        cause="\0" + long,
        endpoint_id=long,
        participant_id=long,
        status=2**40,
        attempts=2**62,
        timestamp=2**64 - 1,
        sequence=2**63,
    )
    group = fingerprint(hostile.cause, hostile.status, hostile.detail)
    with database.transaction() as connection:
        rows = [letter(0), replace(hostile, fingerprint=group.id), letter(2)]
        assert letters.record(connection, rows, [UNAVAILABLE, group], []) == 3
        (shown,) = letters.groups(connection, Filter(group=group.id))
    kept_one = found(database)[1]
    assert kept_one.detail == "\N{REPLACEMENT CHARACTER}? drop\x1b[2J"
    assert kept_one.cause == shown.cause == "\N{REPLACEMENT CHARACTER}" + long[:99]
    assert (kept_one.endpoint_id, kept_one.attempts, kept_one.sequence) == (long[:100], 2**31 - 1, 2**63 - 1)


def test_an_id_is_derived_from_the_delivery() -> None:
    one = letters.letter_id("ep_one", "evt_1", 5, None)
    assert one == letters.letter_id("ep_one", "evt_1", 5, None)
    assert len(one) == 23
    others = [
        letters.letter_id("ep_two", "evt_1", 5, None),
        letters.letter_id(None, "evt_1", 5, None),
        letters.letter_id("ep_one", "evt_2", 5, None),
        letters.letter_id("ep_one", b"evt_1", 5, None),
        letters.letter_id("ep_one", "evt_1", 6, None),
        letters.letter_id("ep_one", "evt_1", 5, "rp_1"),
    ]
    assert len({one, *others}) == 7


def test_a_replay_that_dies_makes_its_letter_dead_again(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 3)
        send(connection, made.id)
    later = NOON + 60 * SECOND
    newer = letter(1, id="dl_newer", replay=made.id, died_at=later, cause="expired")
    elsewhere = letter(2, id="dl_elsewhere", replay=made.id, endpoint_id="ep_two")
    recovered = letter(2, id="dl_recovered", replay="rc_1")
    for _ in range(2):
        with database.transaction() as connection:
            enter(connection, newer, elsewhere, recovered)
    with database.transaction() as connection:
        old = letters.get(connection, letter(1).id)
        assert (old.state, old.next_id, old.state_at) == ("dead again", "dl_newer", later)
        assert letters.get(connection, "dl_newer").state == "dead"
        assert states(connection, made.id) == [
            ("sent", "replaying"),
            ("dead again", "dead again"),
            ("sent", "replaying"),
        ]


def test_of_two_deaths_in_one_job_the_first_is_linked(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 1)
        send(connection, made.id)
        first, second = (letter(0, id=f"dl_{name}", replay=made.id) for name in ("first", "second"))
        enter(connection, first, second)
        assert letters.get(connection, letter(0).id).next_id == "dl_first"


def test_a_letter_that_was_delivered_stays_delivered(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, 1)
        connection.execute(table.update().values(state="delivered"))
        enter(connection, letter(0, id="dl_newer", replay=made.id))
    assert state_of(database, letter(0).id) == "delivered"


ROWS = [
    letter(0, cause="expired", fingerprint="f1"),
    letter(1, participant_id="SCE", endpoint_id="ep_two"),
    letter(2, type="market.dam.closed", died_at=NOON + 2 * SECOND),
    letter(3, participant_id=None, endpoint_id=None, type=None, message_id=None),
    letter(4, participant_id="SDGE", replay_id="rp_1", state="replaying"),
    letter(5, state="discarded", died_at=NOON + 5 * SECOND),
]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [3, 2, 1, 0]),
        (EVERYTHING, [5, 4, 3, 2, 1, 0]),
        (Filter(states=["replaying", "discarded"]), [5, 4]),
        (Filter(states=[]), []),
        (Filter(ids=[ROWS[0].id, ROWS[2].id, ROWS[5].id, "dl_unknown"]), [2, 0]),
        (Filter(ids=[ROWS[0].id, *(f"dl_{number}" for number in range(70_000))]), [0]),
        (Filter(ids=[]), []),
        (Filter(group="f1"), [0]),
        (Filter(group=UNAVAILABLE.id, participant_ids=["SCE"]), [1]),
        (Filter(cause="expired"), [0]),
        (Filter(endpoint_id="ep_two"), [1]),
        (Filter(participant_ids=["SCE", "SDGE"], states=None), [4, 1]),
        (Filter(participant_ids=[]), []),
        (Filter(type="market.dam.closed"), [2]),
        (Filter(type="oms.#"), [1, 0]),
        (Filter(type="*.*.created"), [1, 0]),
        (Filter(type="#"), [2, 1, 0]),
        (Filter(type="oms.transmission-outage.*"), []),
        (Filter(since=NOON + SECOND), [2]),
        (Filter(until=NOON + 2 * SECOND), [3, 1, 0]),
        (Filter(message_id="evt_2"), [2]),
        (Filter(replay_id="rp_1", states=None), [4]),
    ],
)
def test_letters_are_found_counted_and_selected_by_every_filter(
    database: Database, wanted: Filter, numbers: list[int]
) -> None:
    with database.transaction() as connection:
        enter(connection, *ROWS)
    assert found(database, wanted) == tuple(ROWS[number] for number in numbers)
    with database.snapshot() as connection:
        assert letters.select_ids(connection, wanted) == [ROWS[number].id for number in reversed(numbers)]
        assert sum(letters.count(connection, wanted, by="cause").values()) == len(numbers)
        assert sum(one.count for one in letters.groups(connection, wanted)) == len(numbers)


words = st.sampled_from(["oms", "market", "system", "dam", "a-b", "created"])
patterns = st.lists(words | st.sampled_from("*#"), min_size=1, max_size=4).map(".".join)


def is_pattern(pattern: str) -> bool:
    try:
        check_pattern(pattern)
    except InvalidInputError:
        return False
    return True


@given(
    pattern=patterns.filter(is_pattern), types=st.lists(st.lists(words, min_size=3, max_size=3).map(".".join))
)
def test_a_type_filter_is_a_subscription_s_pattern(
    shared_sqlite: Database, pattern: str, types: list[str]
) -> None:
    assert all(map(is_event_type, types))
    with shared_sqlite.transaction() as connection:
        enter(connection, *(letter(number, type=one) for number, one in enumerate(types)))
        rows = letters.find(connection, Filter(type=pattern)).rows
        connection.rollback()
    assert [one.type for one in reversed(rows)] == [one for one in types if matches(pattern, one)]


@pytest.mark.parametrize("pattern", ["oms", "oms.%.created", "OMS.#", "nature.outage.created", "", "a_b.#"])
def test_a_type_that_does_not_parse_is_refused(database: Database, pattern: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        found(database, Filter(type=pattern))
    assert refused.value.field == "type"


def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="naive"):
        found(database, Filter(since=NOON.replace(tzinfo=None)))


@given(count=st.integers(0, 12), limit=st.integers(1, 5), wanted=st.sampled_from([Filter(), EVERYTHING]))
def test_pages_together_are_the_whole_without_repetition(
    shared_sqlite: Database, count: int, limit: int, wanted: Filter
) -> None:
    rows = [letter(number) for number in range(count)]
    seen: list[DeadLetter] = []
    with shared_sqlite.transaction() as connection:
        enter(connection, *rows)
        cursor = None
        for _ in range(count // limit + 1):
            page = letters.find(connection, wanted, cursor=cursor, limit=limit)
            seen += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        connection.rollback()
    assert cursor is None
    assert seen == rows[::-1]


def test_a_cursor_of_no_page_is_refused(database: Database) -> None:
    with database.snapshot() as connection, pytest.raises(InvalidInputError, match="cursor"):
        letters.find(connection, cursor="what")


def test_an_id_may_be_shortened_to_what_is_unique(database: Database) -> None:
    ids = ["dl_aab", "dl_aac", "dl_aacc", "dl_b%"]
    with database.transaction() as connection:
        enter(connection, *(letter(number, id=one) for number, one in enumerate(ids)))
        for prefix, whole in [("dl_aab", 0), ("dl_aac", 1), ("dl_aacc", 2), ("dl_b", 3), ("dl_b%", 3)]:
            assert letters.resolve(connection, prefix) == ids[whole]
        with pytest.raises(
            InvalidInputError, match="beginning of several: dl_aab, dl_aac, dl_aacc"
        ) as several:
            letters.resolve(connection, "dl_aa")
        assert several.value.field == "letter"
        for unknown in ["dl_c", "dl_a%", "dl_a_b", "DL_AAB", "dl_aabb"]:
            with pytest.raises(NotFoundError, match="letter: there is none"):
                letters.resolve(connection, unknown)


def test_letters_are_gotten_in_the_order_asked_for(database: Database) -> None:
    rows = [letter(number) for number in range(6)]
    with database.transaction() as connection:
        enter(connection, *rows)
        ids = [rows[number].id for number in (4, 0, 5)]
        assert letters.many(connection, [ids[0], "dl_unknown", *ids[1:]]) == [rows[4], rows[0], rows[5]]
        assert letters.get(connection, ids[2]) == rows[5]
        with pytest.raises(NotFoundError, match="no letter 'dl_unknown'"):
            letters.get(connection, "dl_unknown")


def test_letters_are_counted_by_state_and_cause(database: Database) -> None:
    with database.transaction() as connection:
        enter(connection, *ROWS)
        by_state = letters.count(connection, by="state")
        assert by_state == {"dead": 4, "replaying": 1, "discarded": 1}
        assert letters.count(connection, Filter(), by="cause") == {"expired": 1, UNAVAILABLE.cause: 3}


def test_messages_with_a_letter_in_any_state_are_told_for_thousands_at_once(database: Database) -> None:
    rows = [letter(number) for number in range(6000)]
    rows += [letter(6001, state="discarded"), letter(6002, endpoint_id="ep_two")]
    with database.transaction() as connection:
        enter(connection, *rows)
        told = letters.dead_message_ids(connection, "ep_one", [f"evt_{number}" for number in range(7000)])
    assert told == {f"evt_{number}" for number in [*range(6000), 6001]}


def test_discarding_is_a_state_that_can_be_undone(database: Database) -> None:
    with database.transaction() as connection:
        ids = enter(connection, *(letter(number) for number in range(3)))
        letters.record(connection, [], [], [kept_claim(letter(0))])
        act = Act("jane", "superseded by hand", NOON + SECOND)
        assert letters.discard(connection, [*ids[:2], ids[0], "dl_unknown"], act) == 2
        assert letters.discard(connection, ids[:2], act) == 0
        one = letters.get(connection, ids[0])
        assert (one.state, one.state_at, one.state_reason) == ("discarded", act.at, act.reason)
        assert kept.has(connection, ["claim_0"])
        assert letters.restore(connection, ids, replace(act, reason="")) == 2
        assert letters.count(connection, by="state") == {"dead": 3}


def test_only_dead_letters_are_discarded_and_only_discarded_ones_restored(database: Database) -> None:
    every: tuple[State, ...] = ("dead", "replaying", "delivered", "dead again", "discarded")
    with database.transaction() as connection:
        ids = enter(connection, *(letter(number, state=state) for number, state in enumerate(every)))
        assert letters.restore(connection, ids, ACT) == 1
        assert letters.discard(connection, ids, ACT) == 2
        after = [one.state for one in letters.many(connection, ids)]
    assert after == ["discarded", "replaying", "delivered", "dead again", "discarded"]


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_discard_without_a_reason_is_refused(database: Database, reason: str) -> None:
    with database.transaction() as connection:
        ids = enter(connection, letter(0))
        with pytest.raises(InvalidInputError) as refused:
            letters.discard(connection, ids, Act("jane", reason))
    assert refused.value.field == "reason"
    assert state_of(database, ids[0]) == "dead"


def test_who_discarded_what_and_why_is_in_the_audit(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        ids = enter(connection, *(letter(number) for number in range(12_000)))
        assert letters.discard(connection, ids, act) == 12_000
        letters.restore(connection, ids[:1], Act("john", at=act.at))
        letters.restore(connection, ids[:1], act)
        restored, discarded = audit.find(connection, kind="letters").rows
    assert (discarded.actor, discarded.action, discarded.reason) == (act.actor, "discarded", act.reason)
    assert discarded.object_id == "12000 letters"
    assert discarded.before == {"state": "dead"}
    assert discarded.after is not None
    assert (discarded.after["state"], discarded.after["count"]) == ("discarded", 12_000)
    assert len(set(discarded.after["ids"]) & set(ids)) == 100
    assert (restored.actor, restored.action, restored.object_id) == ("john", "restored", ids[0])
    assert restored.after == {"state": "dead", "count": 1, "ids": ids[:1]}


def test_every_look_is_in_the_audit(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        letters.looked(connection, letter(1), act, "letter")
        letters.looked(connection, letter(1), act, "body")
        looks = audit.find(connection, kind="letters", object_id=letter(1).id).rows
    assert [(one.action, one.actor, one.after) for one in looks] == [
        ("looked", act.actor, {"what": "body"}),
        ("looked", act.actor, {"what": "letter"}),
    ]


def test_old_letters_are_forgotten_in_portions(database: Database) -> None:
    with database.transaction() as connection:
        enter(connection, *(letter(number, died_at=NOON + number * SECOND) for number in range(10)))
    forgotten: list[int] = []
    while not forgotten or forgotten[-1]:
        with database.transaction() as connection:
            forgotten.append(letters.forget(connection, NOON + 8 * SECOND, limit=3))
    assert forgotten == [3, 3, 2, 0]
    assert [one.message_id for one in found(database)] == ["evt_9", "evt_8"]


@pytest.mark.parametrize(("taken", "stays"), [(NOON, False), (NOON + DAY, True)])
def test_a_letter_in_a_replay_is_forgotten_only_with_the_replay(
    database: Database, taken: datetime, stays: bool
) -> None:
    with database.transaction() as connection:
        enter(connection, letter(0, state="replaying", state_at=taken))
        letters.forget(connection, NOON + SECOND)
    assert bool(found(database)) == stays
