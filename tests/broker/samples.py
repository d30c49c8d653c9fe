"""Tickets, endpoints and what is read back, in few words."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from claimbus.broker import topology
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.events.event import Audience
from claimbus.events.routing import Binding, Route, bindings, route
from claimbus.events.ticket import Ticket
from tests.waiting import eventually

TYPE = "oms.resource-outage.changed"


def ticket(number: int = 1, **other: object) -> Ticket:
    facts: dict[str, object] = {
        "claim_id": f"claim{number:08}",
        "message_id": f"evt_{number:024}",
        "type": TYPE,
        "timestamp": 1_750_000_000 + number,
        "expires": 1_750_600_000,
    }
    return Ticket(**(facts | other))  # type: ignore[arg-type] # the fields' types differ


def to(audience: Audience) -> Route:
    return route(TYPE, audience)


def only(participant: str) -> Route:
    return to(frozenset({participant}))


async def declare_endpoint(
    connection: Connection, endpoint: str, participant: str, *, ordered: bool = False
) -> str:
    """Declare and bind the queue of an endpoint that is subscribed to everything of its participant."""
    async with await connection.channel() as channel:
        queue = await topology.declare_endpoint(channel, endpoint, 1, ordered=ordered)
        await topology.bind_endpoint(channel, queue, endpoint, everything(participant))
    return queue


def everything(participant: str) -> Iterable[Binding]:
    return bindings("#", participant)


@dataclass
class Inbox:
    """What a consumer was given."""

    deliveries: list[Delivery] = field(default_factory=list)
    voids: list[str] = field(default_factory=list)

    def take(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def take_and_ack(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        delivery.ack()

    async def holds(self, count: int) -> None:
        """Wait until this many deliveries were given."""
        await eventually(lambda: len(self.deliveries) >= count)

    @property
    def claims(self) -> list[str]:
        return [delivery.body.decode() for delivery in self.deliveries]


@asynccontextmanager
async def consuming(
    connection: Connection, queue: str, *, prefetch: int = 100, ack: bool = True
) -> AsyncIterator[Inbox]:
    inbox = Inbox()
    consumer = Consumer(connection)
    await consumer.start(
        queue,
        prefetch=prefetch,
        on_delivery=inbox.take_and_ack if ack else inbox.take,
        on_void=inbox.voids.append,
    )
    try:
        yield inbox
    finally:
        await consumer.stop()
