"""Dates of event types that an operator sets while a worker runs."""

from datetime import date, timedelta

from claimbus.database import type_dates
from claimbus.events.catalogue import Retirement
from tests.consumers.house import ACT, House
from tests.waiting import eventually

CLOSED = "market.dam.closed"


async def test_a_worker_sends_the_dates_that_were_set_and_no_more_once_they_were_taken_back(
    house: House,
) -> None:
    house.participant("AAA1")
    _, body = await house.endpoint("AAA1")
    _, claim = await house.endpoint("AAA1", mode="claim")
    await house.worker(reconcile_every=timedelta(milliseconds=100))

    async def sunsets() -> set[str | None]:
        """What both endpoints are sent with the next event."""
        before = len(body.received), len(claim.received)
        await house.publish()
        await eventually(lambda: len(body.received) > before[0] and len(claim.received) > before[1])
        return {body.received[-1].header("sunset"), claim.received[-1].header("sunset")}

    async def are(wanted: set[str | None]) -> bool:
        return await sunsets() == wanted

    assert await are({None})
    days = Retirement(date(2027, 1, 1), date(2027, 7, 1))
    with house.database.transaction() as sql:
        type_dates.put(sql, CLOSED, days, ACT)
    await eventually(lambda: are({"Thu, 01 Jul 2027 00:00:00 GMT"}))
    assert body.received[-1].header("deprecation") == "@1798761600"
    with house.database.transaction() as sql:
        type_dates.remove(sql, CLOSED, ACT)
    await eventually(lambda: are({None}))


async def test_an_event_that_was_rendered_before_is_sent_with_the_new_dates(house: House) -> None:
    """The same event again, by a redelivery: what was made of it is not kept with its old headers."""
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1")
    worker = await house.worker(reconcile_every=timedelta(milliseconds=100))
    event = house.event("AAA1")
    checked_in = await house.store.check_in(event)
    ticket = house.ticket(event, checked_in)

    async def sunset() -> str | None:
        count = len(receiver.received)
        await house.publisher.publish_redelivery(ticket)
        await eventually(lambda: len(receiver.received) > count)
        return receiver.received[-1].header("sunset")

    object.__setattr__(ticket, "endpoint", endpoint.id)
    assert await sunset() is None
    assert worker._handler._rendered
    with house.database.transaction() as sql:
        type_dates.put(sql, CLOSED, Retirement(None, date(2027, 7, 1)), ACT)
    await eventually(lambda: not worker._handler._rendered)
    assert await sunset() == "Thu, 01 Jul 2027 00:00:00 GMT"
