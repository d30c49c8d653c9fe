"""Secrets and parked events: encrypted if there are keys, and never read as something else."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from claimbus.database import Act, Database, endpoints, parked, participants, rekey
from claimbus.database.endpoint import Endpoint
from claimbus.database.schema import endpoint_secrets, parked_events
from claimbus.database.sealed import KEYS
from claimbus.events.event import Event
from claimbus.events.sealing import NO_KEYS, BrokenBoxError, KeyMissingError, Keys
from tests.events.keys import NEW, OLD, OTHER, keys

BEFORE, AFTER = keys(OLD), keys(NEW, OLD)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = Event(
    type="oms.resource-outage.created",
    source="//iso.example/production/oms",
    id="15120034/1",
    time=NOON,
    body=b"\x00\xff NOBODY MAY READ THIS",
    audience=frozenset(),
    subject="SUNRIV_2_UNIT 1",
    partitionkey="15120034",
)


@contextmanager
def opened(database: Database, with_keys: Keys) -> Iterator[Connection]:
    """A transaction of a process that was started with these keys."""
    for engine in (database._writing, database._reading):
        engine.update_execution_options(**{KEYS: with_keys})
    try:
        with database.transaction() as connection:
            yield connection
    finally:
        for engine in (database._writing, database._reading):
            engine.update_execution_options(**{KEYS: NO_KEYS})


def added(connection: Connection, act: Act, name: str = "one") -> Endpoint:
    if not participants.find(connection):
        participants.add(connection, "PGAE", "Pacific", act)
    return endpoints.add(
        connection, "PGAE", act, name=name, url="https://events.example/", subscriptions=["#"]
    )


def stored_secrets(connection: Connection) -> list[str]:
    return list(connection.execute(select(endpoint_secrets.c.value)).scalars())


@pytest.mark.parametrize("with_keys", [BEFORE, AFTER])
def test_a_secret_is_encrypted_and_comes_back(database: Database, act: Act, with_keys: Keys) -> None:
    with opened(database, BEFORE) as connection:
        endpoint = added(connection, act)
        (stored,) = stored_secrets(connection)
        assert stored.startswith("sealed:old.")
        assert endpoint.secrets[0].value.startswith("whsec_")
        assert endpoint.secrets[0].value not in stored
    with opened(database, with_keys) as connection:
        assert endpoints.get(connection, endpoint.id) == endpoint
        assert endpoints.find(connection) == (endpoint,)


def test_a_secret_in_clear_stays_readable_and_its_successor_is_encrypted(
    database: Database, act: Act
) -> None:
    with opened(database, NO_KEYS) as connection:
        clear = added(connection, act)
    with opened(database, AFTER) as connection:
        rotated = endpoints.rotate_secret(connection, clear.id, act)
        assert rotated.secrets[1].value == clear.secrets[0].value
        assert rotated.secrets[0].value != clear.secrets[0].value
        first, second = sorted(stored_secrets(connection))
        assert first.startswith("sealed:new.")
        assert second == clear.secrets[0].value


def test_what_lies_in_clear_is_refused_once_keys_are_required(database: Database, act: Act) -> None:
    required = keys(NEW, OLD, required=True)
    with opened(database, NO_KEYS) as connection:
        clear = added(connection, act)
        parked.park(connection, [("SUNRIV_2_UNIT 1", EVENT)], NOON)
    with opened(database, required) as connection:
        with pytest.raises(BrokenBoxError, match=f"endpoint {clear.id} lies in clear, which CLAIMBUS_ENC"):
            endpoints.get(connection, clear.id)
        with pytest.raises(BrokenBoxError, match=r"parked event .* lies in clear"):
            parked.find(connection)
    with opened(database, AFTER) as connection:
        assert rekey.rekey(connection) == 2
    with opened(database, required) as connection:
        assert endpoints.get(connection, clear.id) == clear
        assert len(parked.find(connection).rows) == 1


@pytest.mark.parametrize("present", [NO_KEYS, keys(NEW), keys(NEW, OTHER)])
def test_without_its_key_a_secret_is_unavailable_and_nothing_is_sent_unsigned(
    database: Database, act: Act, present: Keys
) -> None:
    with opened(database, BEFORE) as connection:
        endpoint = added(connection, act)
    with opened(database, present) as connection:
        with pytest.raises(KeyMissingError, match=f"endpoint {endpoint.id} is encrypted with key old"):
            endpoints.get(connection, endpoint.id)
        with pytest.raises(KeyMissingError):
            endpoints.find(connection)


def test_a_secret_does_not_open_for_another_endpoint(database: Database, act: Act) -> None:
    with opened(database, BEFORE) as connection:
        one, other = added(connection, act), added(connection, act, "other")
        column = endpoint_secrets.c
        (secret,) = connection.execute(select(column.value).where(column.endpoint_id == one.id)).scalars()
        connection.execute(
            update(endpoint_secrets).where(column.endpoint_id == other.id).values(value=secret)
        )
        assert endpoints.get(connection, one.id) == one
        with pytest.raises(BrokenBoxError, match=f"endpoint {other.id} is not what was encrypted"):
            endpoints.get(connection, other.id)
        connection.execute(update(endpoint_secrets).values(value=f"sealed:{BEFORE.first}:!"))
        with pytest.raises(BrokenBoxError, match="has no Base64 in place of its secret"):
            endpoints.get(connection, one.id)


def rows(connection: Connection) -> list[dict[str, Any]]:
    return [row._asdict() for row in connection.execute(select(parked_events))]


def test_a_parked_event_is_encrypted_and_comes_back(database: Database) -> None:
    with opened(database, BEFORE) as connection:
        assert parked.park(connection, [("SUNRIV_2_UNIT 1", EVENT)], NOON) == 1
        assert parked.park(connection, [("SUNRIV_2_UNIT 1", EVENT)], NOON) == 0
        (row,) = rows(connection)
        assert "SUNRIV" not in str(row)
        assert "15120034" not in str(row)
        assert b"NOBODY" not in row["body"]
    with opened(database, AFTER) as connection:
        (found,) = parked.find(connection).rows
        assert (found.resource_id, found.attributes, found.size) == (
            "SUNRIV_2_UNIT 1",
            EVENT.attributes(),
            len(EVENT.body),
        )
        released = parked.event(connection, found.message_id, frozenset({"PGAE"}))
        assert released == replace(EVENT, audience=frozenset({"PGAE"}))
    with opened(database, NO_KEYS) as connection, pytest.raises(KeyMissingError):
        parked.find(connection)


def test_a_parked_event_in_clear_stays_readable(database: Database) -> None:
    with opened(database, NO_KEYS) as connection:
        parked.park(connection, [("NOBODYS_1", EVENT)], NOON)
    with opened(database, AFTER) as connection:
        assert parked.event(connection, EVENT.identity, "all") == replace(EVENT, audience="all")


def test_a_body_does_not_open_under_another_event(database: Database) -> None:
    later = replace(EVENT, id="15120034/2", body=b"other")
    with opened(database, BEFORE) as connection:
        parked.park(connection, [("NOBODYS_1", EVENT), ("NOBODYS_1", later)], NOON)
        mine = next(row for row in rows(connection) if row["message_id"] == EVENT.identity)
        taken = {name: mine[name] for name in ("resource_id", "attributes", "body")}
        for some in ({"body": mine["body"]}, taken):
            this = parked_events.c.message_id == later.identity
            connection.execute(update(parked_events).where(this).values(some))
            with pytest.raises(BrokenBoxError):
                parked.event(connection, later.identity, "all")


def test_rekeying_leaves_nothing_in_clear_and_nothing_to_the_old_key(
    database: Database, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekey, "AT_ONCE", 2)
    later = [replace(EVENT, id=f"15120034/{number}") for number in range(5)]
    with opened(database, NO_KEYS) as connection:
        clear = added(connection, act)
        parked.park(connection, [("NOBODYS_1", one) for one in later[:2]], NOON)
    with opened(database, BEFORE) as connection:
        sealed = [added(connection, act, name) for name in ("two", "three")]
        parked.park(connection, [("NOBODYS_1", one) for one in later[2:]], NOON)
        counts = rekey.secrets_by_key(connection), rekey.parked_by_key(connection)
        assert counts == ({None: 1, BEFORE.first: 2}, {None: 2, BEFORE.first: 3})
    with opened(database, AFTER) as connection:
        assert [rekey.rekey(connection) for _ in range(4)] == [4, 3, 1, 0]
        counts = rekey.secrets_by_key(connection), rekey.parked_by_key(connection)
        assert counts == ({AFTER.first: 3}, {AFTER.first: 5})
    with opened(database, keys(NEW)) as connection:
        assert set(endpoints.find(connection)) == {clear, *sealed}
        for one in later:
            assert parked.event(connection, one.identity, "all").body == EVENT.body
    with opened(database, NO_KEYS) as connection:
        assert rekey.rekey(connection) == 0, "without keys there is nothing to do"


def test_rekeying_without_the_old_key_changes_nothing(database: Database, act: Act) -> None:
    with opened(database, BEFORE) as connection:
        added(connection, act)
        before = stored_secrets(connection)
    with pytest.raises(KeyMissingError), opened(database, keys(NEW)) as connection:
        rekey.rekey(connection)
    with opened(database, BEFORE) as connection:
        assert stored_secrets(connection) == before


def test_nothing_of_them_is_in_the_file(tmp_path: Path, act: Act) -> None:
    file = tmp_path / "claimbus.db"
    with Database.open(f"sqlite:///{file}", keys=BEFORE) as database, database.transaction() as connection:
        secret = added(connection, act).secrets[0].value
        parked.park(connection, [("SUNRIV_2_UNIT 1", EVENT)], NOON)
    with closing(sqlite3.connect(file)) as connection_:
        dump = "\n".join(connection_.iterdump()).encode()
    written = dump + b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"https://events.example/" in written
    for hidden in (
        secret.encode(),
        secret[6:].encode(),
        b"SUNRIV",
        b"NOBODY",
        EVENT.body.hex().upper().encode(),
    ):
        assert hidden not in written
