"""What is to be told to contacts: nothing twice to one reader, nothing left out, by one process at a time."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from claimbus.database import audit, endpoints, holds, participants, tidings
from claimbus.database.audit import Act, Subject
from claimbus.database.engine import Database
from claimbus.database.holds import HoldEvent
from claimbus.database.tidings import Place, Taken

READER = "contacts"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def endpoint_id(database: Database, act: Act) -> str:
    """An endpoint of PGAE, and a reader that begins after it."""
    with database.transaction() as sql:
        participants.add(sql, "PGAE", "Pacific", act)
        added = endpoints.add(sql, "PGAE", act, kind="stream", name="main")
        tidings.begin(sql, READER)
    return added.id


def take(
    database: Database, owner: str = "one", now: datetime = NOW, *, at_once: int = tidings.AT_ONCE
) -> Taken | None:
    with database.transaction() as sql:
        return tidings.take(sql, READER, owner, now, lease_s=60, at_once=at_once)


def whats(taken: Taken | None) -> list[str]:
    assert taken is not None
    return [one.what for one in taken.tidings]


def done(database: Database, place: Place, owner: str = "one") -> bool:
    with database.transaction() as sql:
        return tidings.done(sql, READER, owner, place)


def test_a_new_reader_begins_now_and_a_known_one_stays(database: Database, endpoint_id: str) -> None:
    with database.transaction() as sql:
        holds.record(sql, HoldEvent(endpoint_id, "held", NOW, "it is away"))
        tidings.begin(sql, READER)
        tidings.begin(sql, "another")
        found = tidings.waiting(sql, READER)
        assert found is not None
        assert found.since == NOW
        assert found.rows >= 1  # numbers go on where others have left off
        assert tidings.waiting(sql, "another") == (None, 0)
        assert tidings.waiting(sql, "unknown") is None


def test_what_happens_to_an_endpoint_is_told_in_its_order(database: Database, endpoint_id: str) -> None:
    def at(minutes: int, reason: str = "maintenance") -> Act:
        return Act("jane", reason, NOW + minutes * MINUTE)

    with database.transaction() as sql:
        endpoints.disable(sql, endpoint_id, at(2))
        endpoints.enable(sql, endpoint_id, at(3))
        endpoints.change(sql, endpoint_id, at(4), name="new")
        endpoints.pause(sql, endpoint_id, at(5))
        endpoints.resume(sql, endpoint_id, at(6))
        holds.record(sql, HoldEvent(endpoint_id, "held", NOW, "it is away"))
        holds.record(sql, HoldEvent(endpoint_id, "released", NOW + MINUTE, "a delivery succeeded"))
        holds.record(sql, HoldEvent(endpoint_id, "disabled", NOW + 2 * MINUTE, "the audit says so too"))
        holds.record(sql, HoldEvent("ep_unknown", "held", NOW, "it was never there"))
    taken = take(database)
    assert whats(taken) == ["held", "released", "disabled", "active", "paused", "active"]
    assert taken is not None
    first, *_, last = taken.tidings
    assert (first.reason, last.reason) == ("it is away", "maintenance")
    assert (first.organisation_id, first.participant_id, first.endpoint_id) == (
        "Pacific",
        "PGAE",
        endpoint_id,
    )
    assert {one.endpoint_name for one in taken.tidings} == {"new"}
    assert len({one.key for one in taken.tidings}) == 6
    assert done(database, taken.place)
    assert whats(take(database)) == []


def test_a_webhook_that_is_enabled_unverified_is_told_so(database: Database, act: Act) -> None:
    with database.transaction() as sql:
        participants.add(sql, "PGAE", "Pacific", act)
        tidings.begin(sql, READER)
        hook = endpoints.add(sql, "PGAE", act, name="hook", url="https://one.example/")
        endpoints.disable(sql, hook.id, act)
        endpoints.enable(sql, hook.id, act)
    assert whats(take(database)) == ["disabled", "pending"]


def test_a_certificate_is_told_once_to_each_organisation_that_it_concerns(
    database: Database, act: Act
) -> None:
    with database.transaction() as sql:
        for participant, organisation in (("PGAE", "Pacific"), ("SCE1", "Edison"), ("SCE2", "Edison")):
            participants.add(sql, participant, organisation, act)
        participants.add(sql, "TIDC", "Turlock", act)
        tidings.begin(sql, READER)
        after = {"participants": ["PGAE", "SCE1", "SCE2"], "title": "It ends", "text": "Renew it."}
        audit.append(sql, act, "told", Subject("certificate notice", "x"), after=after)
    taken = take(database)
    assert taken is not None
    assert [(one.organisation_id, one.what, one.title, one.reason) for one in taken.tidings] == [
        ("Edison", "certificate", "It ends", "Renew it."),
        ("Pacific", "certificate", "It ends", "Renew it."),
    ]


def test_what_was_not_done_is_told_again(database: Database, endpoint_id: str) -> None:
    with database.transaction() as sql:
        holds.record(sql, HoldEvent(endpoint_id, "held", NOW, "it is away"))
    assert whats(take(database)) == ["held"]
    with database.transaction() as sql:
        holds.record(sql, HoldEvent(endpoint_id, "released", NOW + MINUTE, "it is back"))
    assert whats(take(database)) == ["held", "released"]


def test_one_process_at_a_time_tells(database: Database, endpoint_id: str) -> None:
    with database.transaction() as sql:
        holds.record(sql, HoldEvent(endpoint_id, "held", NOW, "it is away"))
    taken = take(database, "one")
    assert taken is not None
    assert take(database, "two") is None
    with database.transaction() as sql:
        assert not tidings.renew(sql, READER, "two", NOW, lease_s=60)
        assert tidings.renew(sql, READER, "one", NOW + MINUTE, lease_s=60)
    assert take(database, "two", NOW + 1.5 * MINUTE) is None
    assert whats(take(database, "two", NOW + 2 * MINUTE)) == ["held"]
    assert not done(database, taken.place, "one")
    assert done(database, taken.place, "two")


def test_a_lease_that_was_given_up_is_free(database: Database, endpoint_id: str) -> None:
    assert take(database, "one") is not None
    with database.transaction() as sql:
        tidings.release(sql, READER, "two")
    assert take(database, "two") is None
    with database.transaction() as sql:
        tidings.release(sql, READER, "one")
    assert take(database, "two") is not None


def test_more_than_is_taken_at_once_is_told_in_portions(
    database: Database, endpoint_id: str, act: Act
) -> None:
    with database.transaction() as sql:
        for number in range(5):
            holds.record(sql, HoldEvent(endpoint_id, "held", NOW + number * MINUTE, str(number)))
        endpoints.pause(sql, endpoint_id, act)
    told: list[str] = []
    for _ in range(4):
        taken = take(database, at_once=2)
        assert taken is not None
        told += [one.reason for one in taken.tidings]
        done(database, taken.place)
    assert told == ["0", "1", "a test", "2", "3", "4"]


def test_what_concerns_nobody_is_passed_over(database: Database, endpoint_id: str, act: Act) -> None:
    with database.transaction() as sql:
        for number in range(7):
            audit.append(sql, act, "added", Subject("event type", str(number)))
        assert tidings.waiting(sql, READER) == (None, 7)
    taken = take(database)
    assert taken is not None
    assert taken.tidings == ()
    done(database, taken.place)
    with database.snapshot() as sql:
        assert tidings.waiting(sql, READER) == (None, 0)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.parametrize("table", ["holds", "audit"])
def test_a_row_that_is_committed_after_a_later_one_is_told(
    database: Database, endpoint_id: str, table: str
) -> None:
    """On PostgreSQL numbers are given when a row is written, and are seen when its transaction ends."""

    def write(sql: Connection, reason: str) -> None:
        if table == "holds":
            holds.record(sql, HoldEvent(endpoint_id, "held", NOW, reason))
        else:
            after = {"participants": ["PGAE"], "title": "", "text": reason}
            audit.append(sql, Act("x"), "told", Subject("certificate notice", "x"), after=after)

    with database.transaction() as slow:
        write(slow, "first")
        with database.transaction() as sql:
            write(sql, "second")
        assert take(database) is None
    taken = take(database)
    assert taken is not None
    assert [one.reason for one in taken.tidings] == ["first", "second"]
