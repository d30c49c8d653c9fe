from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import Act, Database, NotFoundError, audit, entitlements, participants
from claimbus.database.entitlements import Entitlement
from claimbus.events.errors import InvalidInputError

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MS = timedelta(milliseconds=1)


@pytest.fixture
def two(database: Database, act: Act) -> Database:
    """A database with two participants."""
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        participants.add(connection, "SCE1", "Edison", act)
    return database


def test_an_entitlement_holds_from_its_beginning_and_not_at_its_end(two: Database, act: Act) -> None:
    with two.transaction() as connection:
        entitlements.put(connection, [Entitlement("GEYSER_1", "PGAE", NEW_YEAR, SUMMER)], act)
        held = [
            bool(entitlements.owners(connection, ["GEYSER_1"], at))
            for at in (NEW_YEAR - MS, NEW_YEAR, SUMMER - MS, SUMMER)
        ]
    assert held == [False, True, True, False]


def test_a_sale_leaves_no_moment_with_two_owners_or_none(two: Database, act: Act) -> None:
    with two.transaction() as connection:
        sale = [Entitlement("GEYSER_1", "PGAE", NEW_YEAR, SUMMER), Entitlement("GEYSER_1", "SCE1", SUMMER)]
        entitlements.put(connection, sale, act)
        for at, owner in [(SUMMER - MS, "PGAE"), (SUMMER, "SCE1"), (SUMMER + 9999 * DAY, "SCE1")]:
            assert entitlements.owners(connection, ["GEYSER_1"], at) == {"GEYSER_1": frozenset({owner})}


def test_what_nobody_owns_is_not_among_the_owners(two: Database, act: Act) -> None:
    with two.transaction() as connection:
        shared = [Entitlement("SHARED", one, NEW_YEAR) for one in ("PGAE", "SCE1")]
        entitlements.put(connection, shared, act)
        found = entitlements.owners(connection, ["SHARED", "NOBODYS"], SUMMER)
        assert found == {"SHARED": frozenset({"PGAE", "SCE1"})}
        assert entitlements.all_owners(connection, SUMMER) == found
        assert entitlements.owners(connection, [], SUMMER) == {}


def test_thousands_of_resources_are_looked_up_at_once(two: Database, act: Act) -> None:
    names = [f"RESOURCE {number}" for number in range(12_000)]
    with two.transaction() as connection:
        entitlements.put(connection, [Entitlement(names[-1], "PGAE", NEW_YEAR)], act)
        assert entitlements.owners(connection, names, SUMMER) == {names[-1]: frozenset({"PGAE"})}


def test_every_change_is_audited_and_a_repetition_is_none(two: Database, act: Act) -> None:
    beginning = Entitlement("GEYSER_1", "PGAE", NEW_YEAR)
    with two.transaction() as connection:
        assert entitlements.put(connection, [beginning], act) == (1, 0)
        assert entitlements.put(connection, [beginning], act) == (0, 0)
        assert entitlements.close(connection, [beginning], Act("jane", "sold", SUMMER)) == 1
        changed, added = audit.find(connection, kind="entitlement").rows
    assert (added.action, added.object_id, added.organisation_id) == ("added", "GEYSER_1/PGAE", "Pacific Gas")
    assert (changed.action, changed.reason) == ("changed", "sold")
    assert changed.before == added.after == {"valid_from": "2026-01-01T00:00:00Z", "valid_to": None}
    assert changed.after == {"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2026-07-01T00:00:00Z"}


def test_closing_keeps_the_row_and_what_it_said_of_the_past(two: Database, act: Act) -> None:
    with two.transaction() as connection:
        entitlements.put(connection, [Entitlement("GEYSER_1", "PGAE", NEW_YEAR)], act)
        entitlements.close(connection, entitlements.find(connection), Act("jane", at=SUMMER))
        assert entitlements.find(connection) == (Entitlement("GEYSER_1", "PGAE", NEW_YEAR, SUMMER),)
        assert entitlements.owners(connection, ["GEYSER_1"], SUMMER - DAY)
        assert not entitlements.owners(connection, ["GEYSER_1"], SUMMER)


def test_closing_what_has_not_begun_never_lets_it_begin(two: Database, act: Act) -> None:
    future = Entitlement("GEYSER_1", "PGAE", SUMMER)
    with two.transaction() as connection:
        entitlements.put(connection, [future], act)
        entitlements.close(connection, [future], Act("jane", at=NEW_YEAR))
        assert not entitlements.owners(connection, ["GEYSER_1"], SUMMER)


def test_microseconds_and_other_zones_make_no_second_entitlement(two: Database, act: Act) -> None:
    elsewhere = NEW_YEAR.astimezone(timezone(-8 * timedelta(hours=1))) + timedelta(microseconds=1)
    with two.transaction() as connection:
        entitlements.put(connection, [Entitlement("GEYSER_1", "PGAE", NEW_YEAR)], act)
        assert entitlements.put(connection, [Entitlement("GEYSER_1", "PGAE", elsewhere)], act) == (0, 0)


def test_an_unknown_participant_is_not_found(two: Database, act: Act) -> None:
    with pytest.raises(NotFoundError), two.transaction() as connection:
        entitlements.put(connection, [Entitlement("GEYSER_1", "NOBODY", NEW_YEAR)], act)


def test_an_end_before_the_beginning_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Entitlement("GEYSER_1", "PGAE", SUMMER, NEW_YEAR)
    assert caught.value.field == "valid_to"


_hours = st.integers(0, 12)
_spans = st.builds(
    lambda resource, owner, begin, length: Entitlement(
        resource,
        owner,
        NEW_YEAR + begin * DAY,
        None if length is None else NEW_YEAR + (begin + length) * DAY,
    ),
    st.sampled_from(["R1", "R2"]),
    st.sampled_from(["AA", "BB", "CC"]),
    _hours,
    st.none() | _hours,
)


@given(st.lists(_spans, max_size=8, unique_by=lambda one: one.key), st.integers(-1, 26))
def test_owners_are_those_whose_span_holds_the_moment(
    shared_sqlite: Database, spans: list[Entitlement], days: int
) -> None:
    at = NEW_YEAR + days * DAY
    wanted: dict[str, set[str]] = {}
    for one in spans:
        if one.valid_from <= at and (one.valid_to is None or at < one.valid_to):
            wanted.setdefault(one.resource_id, set()).add(one.participant_id)
    with shared_sqlite.transaction() as connection:
        for name in ("AA", "BB", "CC"):
            participants.add(connection, name, "One", Act("jane"))
        entitlements.put(connection, spans, Act("jane"))
        found = entitlements.all_owners(connection, at)
        assert entitlements.owners(connection, ["R1", "R2"], at) == found
        connection.rollback()
    assert found == {resource: frozenset(owners) for resource, owners in wanted.items()}


@pytest.mark.parametrize(
    ("begins", "ends", "refused"),
    [
        (NEW_YEAR - DAY, None, True),
        (NEW_YEAR - DAY, NEW_YEAR + MS, True),
        (SUMMER - MS, SUMMER + DAY, True),
        (NEW_YEAR + DAY, SUMMER - DAY, True),
        (NEW_YEAR - DAY, NEW_YEAR, False),
        (SUMMER, None, False),
        (NEW_YEAR, SUMMER + DAY, False),  # the same one, with another end
    ],
)
def test_a_participant_owns_a_resource_once_at_a_time(
    two: Database, act: Act, begins: datetime, ends: datetime | None, *, refused: bool
) -> None:
    wanted = Entitlement("GEYSER_1", "PGAE", begins, ends)
    with two.transaction() as connection:
        entitlements.put(connection, [Entitlement("GEYSER_1", "PGAE", NEW_YEAR, SUMMER)], act)
        entitlements.must_not_overlap(connection, Entitlement("GEYSER_1", "SCE1", begins, ends), new=True)
        entitlements.must_not_overlap(connection, Entitlement("GEYSER_2", "PGAE", begins, ends), new=True)
        if refused:
            with pytest.raises(InvalidInputError, match="resource_id: it owns that within this time already"):
                entitlements.must_not_overlap(connection, wanted)
        else:
            entitlements.must_not_overlap(connection, wanted)
        if refused or begins == NEW_YEAR:
            with pytest.raises(InvalidInputError):
                entitlements.must_not_overlap(connection, wanted, new=True)
