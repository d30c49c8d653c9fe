"""Tickets published by hand, taken out of queues, and claims kept as a dead letter's are."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.topology import endpoint_queue
from claimbus.database import kept
from claimbus.database.endpoint import Endpoint
from claimbus.database.kept import KeptClaim
from claimbus.events.event import Event
from claimbus.events.routing import route
from claimbus.events.ticket import Ticket
from claimstore.store import ClaimStore
from tests.consumers.house import House
from tests.waiting import eventually


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def ids(tickets: list[Ticket]) -> list[str]:
    return [ticket.message_id for ticket in tickets]


async def publish(house: House, event: Event, *, store: ClaimStore | None = None, at: float = 0) -> Ticket:
    """Publish an event as if ``at`` seconds from now; return its ticket."""
    ticket = house.ticket(event, await (store or house.store).check_in(event))
    ticket = replace(ticket, timestamp=int(time.time() + at))
    await house.publisher.publish_ticket(ticket, route(event.type, event.audience))
    return ticket


async def take(house: House, endpoint: Endpoint, count: int) -> list[Ticket]:
    """Take tickets out of an endpoint's queue, as a worker whose record was lost."""
    found: list[Ticket] = []

    def ack(delivery: Delivery) -> None:
        found.append(delivery.ticket())
        delivery.ack()

    consumer = Consumer(house.connection)
    queue = endpoint_queue(endpoint.id, endpoint.generation)
    await consumer.start(queue, prefetch=100, on_delivery=ack)
    try:
        await eventually(lambda: len(found) >= count)
    finally:
        await consumer.stop()
    return found


async def keep(house: House, ticket: Ticket) -> None:
    """Have the ticket's claim in the database, as a dead letter would."""
    (record,) = [part async for part in house.store.stored(ticket.claim_id, expires=ticket.expires)]
    claim = await house.store.redeem(ticket.claim_id, expires=ticket.expires)
    copy = KeptClaim(
        claim_id=ticket.claim_id,
        audience=claim.event.audience,
        size=claim.size,
        stored=len(record),
        chunks=0,
        kept_at=datetime.now(UTC),
        record=record,
    )
    with house.database.transaction() as sql:
        kept.record(sql, [copy])
