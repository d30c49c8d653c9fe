"""Days of event types that an operator set."""

from datetime import date

import pytest

from claimbus.database import audit, type_dates
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.events.catalogue import EVENT_TYPES, Retirement
from claimbus.events.errors import InvalidInputError

CLOSED = "market.dam.closed"
DAYS = Retirement(date(2027, 1, 1), date(2027, 7, 1))


def test_days_that_were_set_go_before_the_catalogues(database: Database, act: Act) -> None:
    with database.transaction() as sql:
        assert type_dates.types_in_force(sql) is EVENT_TYPES
        type_dates.put(sql, CLOSED, DAYS, act)
        type_dates.put(sql, "market.dam.opened", Retirement(None, date(2028, 1, 1)), act)
        types = type_dates.types_in_force(sql)
        assert type_dates.find(sql) == {CLOSED: DAYS, "market.dam.opened": (None, date(2028, 1, 1))}
    assert set(types) == set(EVENT_TYPES)
    assert types["market.dam.reopened"] is EVENT_TYPES["market.dam.reopened"]
    assert (types[CLOSED].deprecated, types[CLOSED].sunset) == DAYS
    assert types[CLOSED].versions is EVENT_TYPES[CLOSED].versions


def test_every_change_is_in_the_audit_and_only_a_change(database: Database, act: Act) -> None:
    later = Retirement(DAYS.deprecated, date(2028, 1, 1))
    with database.transaction() as sql:
        for days in (DAYS, DAYS, later):
            type_dates.put(sql, CLOSED, days, act)
        type_dates.remove(sql, CLOSED, act)
        assert type_dates.find(sql) == {}
        entries = audit.find(sql, kind="event type", object_id=CLOSED).rows
    assert [(one.action, one.before, one.after) for one in reversed(entries)] == [
        ("dates set", None, {"deprecated": "2027-01-01", "sunset": "2027-07-01"}),
        (
            "dates set",
            {"deprecated": "2027-01-01", "sunset": "2027-07-01"},
            {"deprecated": "2027-01-01", "sunset": "2028-01-01"},
        ),
        ("dates removed", {"deprecated": "2027-01-01", "sunset": "2028-01-01"}, None),
    ]


@pytest.mark.parametrize(
    ("name", "days", "field"),
    [
        ("market.dam.clsed", DAYS, "type"),
        (CLOSED, Retirement(None, None), "deprecated"),
        (CLOSED, Retirement(DAYS.sunset, DAYS.deprecated), "sunset"),
    ],
)
def test_days_that_make_no_sense_are_refused(
    database: Database, act: Act, name: str, days: Retirement, field: str
) -> None:
    with database.transaction() as sql, pytest.raises(InvalidInputError) as wrong:
        type_dates.put(sql, name, days, act)
    assert wrong.value.field == field


def test_a_type_may_end_on_the_day_it_is_deprecated(database: Database, act: Act) -> None:
    same = Retirement(DAYS.deprecated, DAYS.deprecated)
    with database.transaction() as sql:
        type_dates.put(sql, CLOSED, same, act)
        assert type_dates.find(sql) == {CLOSED: same}


def test_days_that_were_never_set_cannot_be_removed(database: Database, act: Act) -> None:
    with database.transaction() as sql, pytest.raises(NotFoundError, match="no dates were set"):
        type_dates.remove(sql, CLOSED, act)
