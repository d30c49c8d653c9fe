"""The audit is only ever added to: the database itself refuses the rest."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, text, update

from claimbus.database import Act, Database, audit
from claimbus.database.audit import Subject
from claimbus.database.schema import audit_entries
from claimbus.events.errors import InvalidInputError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def database(database: Database) -> Database:
    """A database with three entries, an hour apart."""
    with database.transaction() as connection:
        audit.append(connection, Act("jane", at=NOON), "added", Subject("endpoint", "ep_one", "Edison"))
        audit.append(
            connection, Act("john", at=NOON + HOUR), "added", Subject("endpoint", "ep_two", "Pacific")
        )
        change = Act("jane", "too slow", NOON + 2 * HOUR)
        subject = Subject("endpoint", "ep_one", "Edison")
        audit.append(connection, change, "changed", subject, before={"x": None}, after={"x": [1]})
    return database


def test_entries_cannot_be_changed(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="only ever added"), database.transaction() as connection:
        connection.execute(update(audit_entries).values(actor="nobody"))


def test_entries_cannot_be_deleted(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="only ever added"), database.transaction() as connection:
        connection.execute(delete(audit_entries))


def test_entries_cannot_be_replaced_or_cut_off(database: Database) -> None:
    with database.snapshot() as connection:
        newest, *_ = audit.find(connection).rows
    row = {
        "id": newest.id,
        "at": NOON,
        "actor": "x",
        "action": "x",
        "kind": "x",
        "object_id": "x",
        "reason": "",
    }
    replacing = insert(audit_entries).prefix_with("OR REPLACE", dialect="sqlite")
    with pytest.raises(InvalidInputError), database.transaction() as connection:
        connection.execute(replacing, row)
    if not database.is_sqlite:
        with pytest.raises(InvalidInputError, match="only ever added"), database.transaction() as connection:
            connection.execute(text("TRUNCATE audit_entries"))
    with database.snapshot() as connection:
        assert audit.find(connection).rows[0] == newest


def test_an_entry_tells_who_what_when_and_why(database: Database) -> None:
    with database.snapshot() as connection:
        (entry,) = audit.find(connection, since=NOON + 2 * HOUR).rows
    assert (entry.actor, entry.action, entry.reason, entry.at) == (
        "jane",
        "changed",
        "too slow",
        NOON + 2 * HOUR,
    )
    assert (entry.kind, entry.object_id, entry.organisation_id) == ("endpoint", "ep_one", "Edison")
    assert (entry.before, entry.after) == ({"x": None}, {"x": [1]})


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 3),
        ({"kind": "endpoint"}, 3),
        ({"kind": "import"}, 0),
        ({"object_id": "ep_one"}, 2),
        ({"organisation_id": "Pacific"}, 1),
        ({"actor": "jane", "object_id": "ep_one"}, 2),
        ({"since": NOON + HOUR}, 2),
        ({"until": NOON + HOUR}, 1),
        ({"since": NOON, "until": NOON}, 0),
    ],
)
def test_entries_are_found_by_every_filter(database: Database, filters: dict[str, str], count: int) -> None:
    with database.snapshot() as connection:
        assert len(audit.find(connection, **filters).rows) == count  # type: ignore[arg-type]


def test_pages_follow_one_another_newest_first(database: Database) -> None:
    with database.snapshot() as connection:
        whole = audit.find(connection)
        first = audit.find(connection, limit=2)
        second = audit.find(connection, limit=2, cursor=first.cursor)
        assert first.rows + second.rows == whole.rows
        assert (whole.cursor, second.cursor) == (None, None)
        assert [entry.at for entry in whole.rows] == [NOON + 2 * HOUR, NOON + HOUR, NOON]


@pytest.mark.parametrize("cursor", ["", "x", "1-2", "-1", "1 OR 1=1", "9" * 19, "٣"])
def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidInputError) as caught, database.snapshot() as connection:
        audit.find(connection, cursor=cursor)
    assert caught.value.field == "cursor"
