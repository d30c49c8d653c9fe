"""Participants and endpoints a page at a time, and the cursors between the pages."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import Act, Database, directory, endpoints, participants
from claimbus.database.endpoint import Endpoint
from claimbus.database.page import opaque, texts
from claimbus.events.errors import InvalidInputError

NAMES = ("one", "Übertragung", "a" * 100, "電" * 100)


def town(database: Database, act: Act) -> list[Endpoint]:
    """Two participants' endpoints, with names as people give them."""
    with database.transaction() as sql:
        for name in ("PGAE", "SCEC"):
            participants.add(sql, name, f"{name} Inc", act)
        return [
            endpoints.add(sql, owner, act, kind="stream", name=name)
            for name in NAMES
            for owner in ("PGAE", "SCEC")
        ]


def encoded(told: object) -> str:
    """A cursor that somebody made."""
    return urlsafe_b64encode(json.dumps(told).encode()).decode()


def test_pages_of_endpoints_follow_each_other_whatever_their_names(database: Database, act: Act) -> None:
    everything = town(database, act)
    seen: list[str] = []
    with database.snapshot() as sql:
        cursor = None
        while True:
            page = directory.endpoints(sql, cursor=cursor, limit=3)
            seen += [one.id for one in page.rows]
            if (cursor := page.cursor) is None:
                break
            assert len(cursor) <= 1000  # what the API takes
        whole = directory.endpoints(sql)
        assert sorted(directory.endpoint_ids(sql)) == sorted(seen)
    assert seen == [one.id for one in whole.rows]
    assert sorted(seen) == sorted(one.id for one in everything)


def test_a_cursor_tells_nothing_of_another_s_endpoints(database: Database, act: Act) -> None:
    theirs = next(one for one in town(database, act) if one.participant_id == "SCEC")
    made_up = opaque("SCEC", theirs.name, "ep_none")
    with database.snapshot() as sql:
        found = [
            directory.endpoints(sql, participant_ids=["PGAE"], cursor=cursor, limit=2)
            for cursor in (opaque("SCEC", theirs.name, theirs.id), made_up)
        ]
        assert found[0] == found[1]
        with pytest.raises(InvalidInputError, match="cursor"):
            directory.endpoints(sql, participant_ids=["PGAE"], cursor=theirs.id)


def test_a_page_goes_on_where_it_was_when_its_last_endpoint_is_removed(database: Database, act: Act) -> None:
    town(database, act)
    with database.transaction() as sql:
        first = directory.endpoints(sql, limit=3)
        endpoints.remove(sql, first.rows[-1].id, act)
        second = directory.endpoints(sql, cursor=first.cursor, limit=100)
    assert len(second.rows) == 2 * len(NAMES) - 3


def test_participants_are_listed_by_id_and_their_cursors_are_opaque(database: Database, act: Act) -> None:
    town(database, act)
    with database.snapshot() as sql:
        first = directory.participants(sql, limit=1)
        assert first.cursor is not None
        assert "PGAE" not in first.cursor
        assert [one.id for one in directory.participants(sql, cursor=first.cursor).rows] == ["SCEC"]


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "ep_one", "é", "1-2", "[" * 1000, "W1tb" * 250),
        *map(encoded, ("PGAE", ["PGAE"], ["a", 1, "b"], ["a", "\0", "b"], ["\ud800"] * 3, {"a": 1})),
    ],
)
def test_what_no_page_gave_out_is_no_cursor(database: Database, cursor: str) -> None:
    with database.snapshot() as sql, pytest.raises(InvalidInputError) as wrong:
        directory.endpoints(sql, cursor=cursor)
    assert wrong.value.field == "cursor"


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "S")))))
def test_a_cursor_of_texts_is_read_as_it_was_made(told: list[str]) -> None:
    assert texts(opaque(*told), len(told)) == tuple(told)


@given(st.text() | st.binary().map(lambda some: urlsafe_b64encode(some).decode()))
def test_anything_else_is_refused_or_read_as_texts(cursor: str) -> None:
    with suppress(InvalidInputError):
        assert len(texts(cursor, 2)) == 2
