"""Event types as people see them, and an operator who deprecates one: streams say so with what they send."""

from datetime import date

import pytest

from claimbus.database import audit
from claimbus.database.access import Principal, Role
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import Participant
from claimbus.events.catalogue import EVENT_TYPES, Retirement
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue
from claimbus.portal.desk.catalogue import Shown
from claimbus.portal.problems import ForbiddenError
from tests.portal.portals import ACT, Portal
from tests.portal.streams import Stage, stage, stream_settings
from tests.waiting import eventually

__all__ = ["stage", "stream_settings"]

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))
CLOSED = "market.dam.closed"
DAYS = Retirement(date(2027, 1, 1), date(2027, 7, 1))


def of(*event_types: str, role: Role = Role.UAA) -> Principal:
    """Somebody of a participant to whom these types are open."""
    one = Participant(id="PGAE", organisation_id="Pacific", event_types=event_types, created_at=ACT.at)
    return Principal(name="jane", roles=frozenset({role}), organisation_id="Pacific", participants=(one,))


async def shown(portal: Portal, who: Principal) -> dict[str, Shown]:
    return {one.name: one for one in await catalogue.types(portal.services, who)}


async def test_every_type_is_shown_with_its_schemas_and_an_example(portal: Portal) -> None:
    found = await shown(portal, OPERATOR)
    assert list(found) == sorted(EVENT_TYPES)
    for name, one in found.items():
        assert one.description
        assert [version.uri for version in one.versions] == [
            f"urn:claimbus:schema:{name}:{version.version}" for version in one.versions
        ]
        EVENT_TYPES[name].newest.schema.check(dict(one.example))
        assert one.versions[-1].document["$id"] == one.versions[-1].uri
    first, second = found["oms.resource-outage.changed"].versions
    assert first.dates == (date(2026, 10, 1), date(2027, 10, 1))
    assert second.dates == Retirement(None, None)


async def test_what_is_open_is_told_by_the_participants_of_who_asks(portal: Portal) -> None:
    found = await shown(portal, of("market.#"))
    assert {name for name, one in found.items() if one.is_open} == {
        name for name in EVENT_TYPES if name.startswith("market.")
    }
    assert not any(one.is_open for one in (await shown(portal, of())).values())
    assert all(one.is_open for one in (await shown(portal, OPERATOR)).values())


async def test_an_operator_sets_dates_and_takes_them_back(portal: Portal) -> None:
    services = portal.services
    changed = await catalogue.set_dates(services, OPERATOR, CLOSED, *DAYS, reason="another takes its place")
    assert (changed.dates, changed.are_set) == (DAYS, True)
    found = await shown(portal, of("#", role=Role.PARTICIPANT))
    assert (found[CLOSED].dates, found[CLOSED].are_set) == (DAYS, True)
    assert not found["market.dam.opened"].are_set
    back = await catalogue.set_dates(services, OPERATOR, CLOSED, None, None)
    assert (back.dates, back.are_set) == (Retirement(None, None), False)
    with services.database.snapshot() as sql:
        entries = audit.find(sql, kind="event type", object_id=CLOSED).rows
    assert [(one.actor, one.action, one.reason) for one in reversed(entries)] == [
        ("an operator", "dates set", "another takes its place"),
        ("an operator", "dates removed", ""),
    ]


async def test_only_operators_set_dates_and_only_sensible_ones(portal: Portal) -> None:
    services = portal.services
    for somebody in (of("#"), of("#", role=Role.PARTICIPANT)):
        with pytest.raises(ForbiddenError):
            await catalogue.set_dates(services, somebody, CLOSED, *DAYS)
    with pytest.raises(ForbiddenError):
        await catalogue.types(services, Principal(name="x", roles=frozenset({Role.ADMIN})))
    with pytest.raises(InvalidInputError, match="before the deprecation"):
        await catalogue.set_dates(services, OPERATOR, CLOSED, DAYS.sunset, DAYS.deprecated)
    with pytest.raises(InvalidInputError, match=r"did you mean 'market\.dam\.closed'"):
        await catalogue.set_dates(services, OPERATOR, "market.dam.clsed", *DAYS)
    with pytest.raises(NotFoundError):
        await catalogue.set_dates(services, OPERATOR, CLOSED, None, None)


async def test_an_open_stream_tells_dates_that_were_set_meanwhile(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:

        async def dated() -> bool:
            await stage.publish("PGAE")
            [delivery] = await client.take()
            await client.ack(delivery)
            return delivery.sunset is not None

        assert not await dated()
        await catalogue.set_dates(stage.services, OPERATOR, CLOSED, *DAYS)
        await eventually(dated, every=0.1)
        last = client.got[-1]
        assert (last.deprecation, last.sunset) == ("@1798761600", "Thu, 01 Jul 2027 00:00:00 GMT")
