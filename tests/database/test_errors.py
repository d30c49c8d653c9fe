"""What a violated constraint is told as, on both databases alike."""

import traceback
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Table, insert

from claimbus.database import Act, Database, DuplicateError, NotFoundError, endpoints, participants, schema
from claimbus.events.errors import InvalidInputError


def put(database: Database, table: Table, row: Mapping[str, Any]) -> None:
    with database.transaction() as connection:
        connection.execute(insert(table), row)


def test_a_repeated_key_is_a_duplicate_of_its_field(database: Database, act: Act) -> None:
    put(database, schema.organisations, {"id": "One", "created_at": act.at})
    with pytest.raises(DuplicateError) as caught:
        put(database, schema.organisations, {"id": "One", "created_at": act.at})
    assert caught.value.field == "id"


def test_a_reference_to_nothing_is_not_found(database: Database, act: Act) -> None:
    row = {"organisation_id": "Nobody", "email": "a@b.example", "created_at": act.at}
    with pytest.raises(NotFoundError):
        put(database, schema.contacts, row)


def test_a_missing_value_names_its_field(database: Database, act: Act) -> None:
    with pytest.raises(InvalidInputError) as caught:
        put(database, schema.organisations, {"id": "One", "created_at": None})
    assert caught.value.field == "created_at"


def test_a_value_out_of_its_set_names_its_field(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "One", act)
        added = endpoints.add(connection, "PGAE", act, kind="stream", name="main")
    with pytest.raises(InvalidInputError) as caught, database.transaction() as connection:
        connection.execute(schema.endpoints.update().values(state="lost"))
    assert caught.value.field == "state"
    with database.snapshot() as connection:
        assert endpoints.get(connection, added.id).state == "active"


def test_a_naive_time_is_refused(database: Database, act: Act) -> None:
    row = {"id": "One", "created_at": act.at.replace(tzinfo=None)}
    with pytest.raises(InvalidInputError, match="naive"):
        put(database, schema.organisations, row)


def test_an_error_shows_no_value_of_the_row(database: Database, act: Act) -> None:
    row = {"organisation_id": None, "email": "whsec_abc", "created_at": act.at}
    with pytest.raises(InvalidInputError) as caught:
        put(database, schema.contacts, row)
    assert "whsec_" not in "".join(traceback.format_exception(caught.value))
