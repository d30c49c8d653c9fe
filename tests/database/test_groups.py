"""A night's dead letters at a glance."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import Database, letters
from claimbus.database.groups import By
from claimbus.database.letters import DeadLetter, Filter, Group
from claimbus.events.fingerprint import fingerprint
from tests.database.replaying import NOON, SECOND, UNAVAILABLE, enter, letter

REFUSED = fingerprint("attempts exhausted", None, "connect: Connection refused (os error 111)")
HOUR = timedelta(hours=1)


def record(database: Database, *rows: DeadLetter) -> None:
    with database.transaction() as connection:
        letters.record(connection, rows, {UNAVAILABLE, REFUSED}, [])


def grouped(database: Database, wanted: Filter | None = None, by: By = "error", **other: int) -> list[Group]:
    with database.snapshot() as connection:
        return letters.groups(connection, wanted or Filter(), by=by, **other)


def test_letters_are_grouped_by_their_error(database: Database) -> None:
    refused = {"fingerprint": REFUSED.id, "status": None}
    record(
        database,
        letter(0, died_at=NOON),
        letter(1, died_at=NOON + SECOND, **refused),
        letter(2, died_at=NOON + 3 * SECOND, **refused),
        letter(3, died_at=NOON + 4 * SECOND, state="delivered"),
    )
    assert grouped(database, buckets=3) == [
        Group(
            key=REFUSED.id,
            cause="attempts exhausted",
            status=None,
            error="connect: Connection refused (os error <number>)",
            count=2,
            first=NOON + SECOND,
            last=NOON + 3 * SECOND,
            sample=letter(2).id,
            trend=(1, 0, 1),
        ),
        Group(
            key=UNAVAILABLE.id,
            cause="attempts exhausted",
            status=503,
            error="Service Unavailable",
            count=1,
            first=NOON,
            last=NOON,
            sample=letter(0).id,
            trend=(1, 0, 0),
        ),
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("cause", {"expired": 3, "rejected": 1}),
        ("participant", {"PGAE": 2, "SCE": 1, None: 1}),
        ("endpoint", {"ep_one": 3, None: 1}),
        ("type", {"oms.resource-outage.created": 3, "market.dam.closed": 1}),
        ("hour", {"2026-03-01T12:00+00:00": 3, "2026-03-01T13:00+00:00": 1}),
    ],
)
def test_letters_are_grouped_by_what_one_asks_for(
    database: Database, by: By, expected: dict[str | None, int]
) -> None:
    record(
        database,
        letter(0, cause="expired"),
        letter(1, cause="expired", participant_id=None, endpoint_id=None),
        letter(2, cause="expired", participant_id="SCE", died_at=NOON + HOUR - SECOND),
        letter(3, cause="rejected", type="market.dam.closed", died_at=NOON + HOUR),
    )
    found = grouped(database, by=by)
    assert {one.key: one.count for one in found} == expected
    assert [one.count for one in found] == sorted(expected.values(), reverse=True)
    assert {one.cause for one in found} == (set(expected) if by == "cause" else {None})


def test_only_the_biggest_groups_are_told(database: Database) -> None:
    record(database, *(letter(number, type=f"oms.{'abc'[number % 3]}.x") for number in range(8)))
    assert [one.key for one in grouped(database, by="type", limit=2)] == ["oms.b.x", "oms.a.x"]


def test_a_group_whose_fingerprint_is_unknown_is_told_all_the_same(database: Database) -> None:
    record(database, letter(0, fingerprint="unknown"))
    (one,) = grouped(database)
    assert (one.key, one.error, one.count) == ("unknown", None, 1)


def test_nothing_has_no_groups(database: Database) -> None:
    record(database, letter(0))
    assert grouped(database, Filter(cause="unknown")) == []


@given(
    seconds=st.lists(st.integers(-5000, 5000), min_size=1, max_size=30),
    buckets=st.integers(1, 30),
    by=st.sampled_from(["error", "type", "hour"]),
)
def test_a_trend_has_every_letter_once(
    shared_sqlite: Database, seconds: list[int], buckets: int, by: By
) -> None:
    moments = [NOON + one * SECOND for one in seconds]
    with shared_sqlite.transaction() as connection:
        enter(connection, *(letter(number, died_at=at) for number, at in enumerate(moments)))
        found = letters.groups(connection, Filter(), by=by, buckets=buckets)
        connection.rollback()
    assert sum(one.count for one in found) == len(seconds)
    assert all(len(one.trend) == buckets and sum(one.trend) == one.count for one in found)
    whole = [sum(counts) for counts in zip(*(one.trend for one in found), strict=True)]
    assert whole[0] > 0
    assert whole[-1] > 0 or len(set(moments)) < buckets
    assert min(one.first for one in found) == min(moments)
    assert max(one.last for one in found) == max(moments)
