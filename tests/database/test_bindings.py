from datetime import UTC, datetime, timedelta

import pytest

from claimbus.database import Act, Database, bindings, endpoints, participants
from claimbus.database.bindings import Bound
from claimbus.events import routing

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OMS = routing.bindings("oms.#", "PGAE")
DAM = routing.bindings("market.dam.closed", "PGAE")


@pytest.fixture
def endpoint_id(database: Database, act: Act) -> str:
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        return endpoints.add(connection, "PGAE", act, kind="stream", name="main").id


def keys(found: tuple[Bound, ...]) -> set[routing.Binding]:
    return {one.binding for one in found}


def test_what_was_bound_at_a_moment_can_be_told_later(database: Database, endpoint_id: str) -> None:
    with database.transaction() as connection:
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON)
        bindings.record_bound(connection, endpoint_id, 1, DAM, NOON + HOUR)
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + 2 * HOUR)
        told = [keys(bindings.at(connection, NOON + after * HOUR)) for after in (-0.001, 0, 1, 1.999, 2, 99)]
        assert told == [set(), OMS, OMS | DAM, OMS | DAM, DAM, DAM]
        assert keys(bindings.current(connection, endpoint_id)) == DAM
        assert bindings.current(connection, "ep_other") == ()


def test_binding_twice_is_binding_once_and_again_is_a_new_row(database: Database, endpoint_id: str) -> None:
    with database.transaction() as connection:
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON)
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON + HOUR)
        assert {one.bound_from for one in bindings.current(connection)} == {NOON}
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + HOUR)
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + 2 * HOUR)  # changes nothing
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON + 3 * HOUR)
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + 3 * HOUR)
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON + 3 * HOUR)
        assert bindings.at(connection, NOON + 1.5 * HOUR) == ()
        assert keys(bindings.at(connection, NOON + 3 * HOUR)) == OMS


def test_generations_overlap_without_a_gap(database: Database, endpoint_id: str) -> None:
    with database.transaction() as connection:
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON)
        bindings.record_bound(connection, endpoint_id, 2, OMS, NOON + HOUR)
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + HOUR)
        assert {one.generation for one in bindings.at(connection, NOON + HOUR, endpoint_id)} == {2}
        bindings.record_unbound(connection, endpoint_id, 2, [], NOON + 2 * HOUR)
        assert keys(bindings.current(connection)) == OMS


def test_what_was_bound_during_a_period_is_told_even_if_only_for_a_moment(
    database: Database, endpoint_id: str
) -> None:
    with database.transaction() as connection:
        bindings.record_bound(connection, endpoint_id, 1, OMS, NOON)
        bindings.record_unbound(connection, endpoint_id, 1, OMS, NOON + HOUR)
        bindings.record_bound(connection, endpoint_id, 1, DAM, NOON + 2 * HOUR)

        def during(begins: float, ends: float) -> set[routing.Binding]:
            return keys(bindings.during(connection, NOON + begins * HOUR, NOON + ends * HOUR))

        assert during(-2, -0.001) == set()
        assert during(-2, 0) == during(0.4, 0.6) == during(0.999, 1.999) == OMS
        assert during(1, 1.999) == set()
        assert during(0.999, 2) == during(-9, 9) == OMS | DAM
        assert during(2, 2) == during(5, 9) == DAM
