"""Events on resources that nobody owned, as operators let them go out."""

from datetime import timedelta

import pytest

from claimbus.broker.errors import BrokerUnavailableError
from claimbus.database import audit, parked
from claimbus.database.access import Principal, Role
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import parked as desk
from claimbus.portal.desk import patience
from claimbus.portal.desk.parked import BrokenOffError
from claimbus.portal.services import Services
from tests.portal.portals import ACT, Portal
from tests.producers.bus import closed

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))
TO = frozenset({"PGAE"})


def wait(portal: Portal, count: int) -> None:
    """Park events on a resource that nobody owns, and let the participant be known that may have them."""
    portal.participant("PGAE")
    with portal.services.database.transaction() as sql:
        for number in range(count):
            at = ACT.at + timedelta(seconds=number)
            parked.park(sql, [("NOBODYS", closed(number + 1))], at)


async def test_others_than_the_owners_get_events_for_a_reason_only(portal: Portal) -> None:
    wait(portal, 1)
    for reason in ("", " "):
        with pytest.raises(InvalidInputError) as wrong:
            await desk.release(portal.services, OPERATOR, to=TO, reason=reason)
        assert wrong.value.field == "reason"
    (went,) = await desk.release(portal.services, OPERATOR, to=TO, reason="they asked")
    with portal.services.database.snapshot() as sql:
        (entry,) = audit.find(sql, object_id=went.event.message_id).rows
    assert (entry.action, entry.reason, entry.after) == ("released", "they asked", {"to": ["PGAE"]})


async def test_a_release_that_breaks_off_says_how_many_went_and_the_rest_waits(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait(portal, 3)
    asked = 0

    def lost_at_the_third(_: Services) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise BrokerUnavailableError("the connection to RabbitMQ is lost at the moment")

    monkeypatch.setattr(patience, "must_be_connected", lost_at_the_third)
    with pytest.raises(BrokenOffError, match="2 of 3 events went out, the rest stays parked"):
        await desk.release(portal.services, OPERATOR, to=TO, reason="they asked")
    assert len((await desk.find(portal.services, OPERATOR, released=True)).rows) == 2
    assert len((await desk.find(portal.services, OPERATOR)).rows) == 1
