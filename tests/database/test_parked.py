from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.database import Act, Database, NotFoundError, audit, parked
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import Event

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENT = Event(
    type="oms.resource-outage.created",
    source="//iso.example/production/oms",
    id="15120034/1",
    time=NOON,
    body=b"\x00\xff not even text",
    audience=frozenset(),
    partitionkey="15120034",
    sequence=1,
)


def test_a_parked_event_is_kept_whole(database: Database) -> None:
    with database.transaction() as connection:
        assert parked.park(connection, [("NOBODYS_1", EVENT)], NOON) == 1
        (found,) = parked.find(connection).rows
        assert (found.message_id, found.resource_id, found.size) == (EVENT.identity, "NOBODYS_1", 16)
        assert (found.parked_at, found.released_at) == (NOON, None)
        released = parked.event(connection, found.message_id, frozenset({"PGAE"}))
        assert released == replace(EVENT, audience=frozenset({"PGAE"}))


def test_parking_again_is_parking_once(database: Database) -> None:
    later = replace(EVENT, id="15120034/2", sequence=2)
    with database.transaction() as connection:
        parked.park(connection, [("NOBODYS_1", EVENT)], NOON)
        again = [("NOBODYS_1", EVENT), ("NOBODYS_1", later)]
        assert parked.park(connection, again, NOON + MINUTE) == 1
        assert [one.parked_at for one in parked.find(connection).rows] == [NOON + MINUTE, NOON]


def test_a_release_says_who_when_and_to_whom_and_happens_once(database: Database) -> None:
    jane, john = Act("jane", "owner found", NOON + MINUTE), Act("john", at=NOON + 2 * MINUTE)
    with database.transaction() as connection:
        parked.park(connection, [("NOBODYS_1", EVENT)], NOON)
        assert (
            parked.mark_released(connection, [EVENT.identity, "evt_unknown"], jane, to={"SCEC", "PGAE"}) == 1
        )
        assert parked.mark_released(connection, [EVENT.identity], john, to=["PGAE"]) == 0
        assert parked.park(connection, [("NOBODYS_1", EVENT)], NOON) == 0
        assert parked.find(connection).rows == ()
        (found,) = parked.find(connection, released=True).rows
        (entry,) = audit.find(connection, kind="parked event").rows
    assert (found.released_by, found.released_at) == ("jane", NOON + MINUTE)
    assert (entry.actor, entry.action, entry.reason) == ("jane", "released", "owner found")
    assert entry.after == {"to": ["PGAE", "SCEC"]}


def test_pages_follow_one_another(database: Database) -> None:
    events = [replace(EVENT, id=f"15120034/{number}") for number in range(7)]
    with database.transaction() as connection:
        parked.park(connection, [("NOBODYS_1", one) for one in events], NOON)
        first = parked.find(connection, limit=4)
        second = parked.find(connection, limit=4, cursor=first.cursor)
        assert first.rows + second.rows == parked.find(connection).rows
    assert (len(first.rows), len(second.rows), second.cursor) == (4, 3, None)


def test_what_is_not_parked_is_not_found(database: Database) -> None:
    with database.snapshot() as connection:
        with pytest.raises(NotFoundError):
            parked.event(connection, "evt_unknown", "all")
        with pytest.raises(InvalidInputError, match="cursor"):
            parked.find(connection, cursor="what")
