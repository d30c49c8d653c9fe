"""A bus for the tests of producers: real RabbitMQ and Redis, and an ear for every ticket."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from claimbus.broker.channel import Channel
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Topology, parse_ladder
from claimbus.events.event import ALL, Audience, Event
from claimbus.events.markets import market_event
from claimbus.events.routing import DOMAINS
from claimbus.events.ticket import Ticket
from claimstore.claim import Claim
from claimstore.identities import Identities
from claimstore.store import ClaimStore
from producers.producer import Producer
from tests.waiting import eventually

SOURCE = "urn:claimbus:test:market"
LIFE = timedelta(hours=1)
TOPOLOGY = Topology(ladder=parse_ladder("1s"))


@dataclass
class Bus:
    """What one test works with; other tests share the vhost, so they follow one another."""

    amqp_url: str
    redis_url: str
    prefix: str
    store: ClaimStore
    publisher: Publisher
    producer: Producer
    heard: list[Delivery] = field(default_factory=list)

    @property
    def tickets(self) -> list[Ticket]:
        """Everything that was published so far, in order."""
        return [delivery.ticket() for delivery in self.heard]

    async def hears(self, count: int) -> list[Ticket]:
        """Wait until so many tickets were published; return all."""
        await eventually(lambda: len(self.heard) >= count)
        return self.tickets

    async def redeem(self, ticket: Ticket) -> Claim:
        return await self.store.redeem(ticket.claim_id, expires=ticket.expires)

    async def claims(self) -> int:
        """How many claims are in the store."""
        return len(await self.store.connection.ask("KEYS", f"{self.prefix}claim:*"))

    def another_producer(
        self,
        publisher: Publisher,
        *,
        participants: Callable[[], frozenset[str]] | None = None,
        published: Callable[[str], None] | None = None,
    ) -> Producer:
        """A producer on the same store."""
        identities = Identities(self.store.connection, life=LIFE)
        return Producer(
            self.store,
            identities,
            publisher,
            source=SOURCE,
            participants=participants,
            published=published,
        )


def closed(
    number: int = 1,
    *,
    day: int = 5,
    audience: Audience = ALL,
    source: str = SOURCE,
    reason: str | None = None,
) -> Event:
    """The day-ahead market of a day in March closed, for such a time; another reason is another body."""
    return market_event(
        "dam",
        "closed",
        trade_date=date(2026, 3, day),
        source=source,
        at=datetime(2026, 3, 1, tzinfo=UTC),
        occurrence=number,
        reason=reason,
        audience=audience,
    )


@asynccontextmanager
async def open_bus(amqp_url: str, redis_url: str, prefix: str, *, listens: bool = True) -> AsyncIterator[Bus]:
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(
            await ClaimStore.open(redis_url, prefix=prefix, life=LIFE, max_body=8 << 20)
        )
        publisher = await Publisher.open(amqp_url, topology=TOPOLOGY, confirm_timeout=10)
        opened.push_async_callback(publisher.aclose)
        producer = Producer(store, Identities(store.connection, life=LIFE), publisher, source=SOURCE)
        bus = Bus(amqp_url, redis_url, prefix, store, publisher, producer)
        if listens:
            listening = await Connection.open(amqp_url, name="tests: listens")
            opened.push_async_callback(listening.aclose)
            consumer = Consumer(listening)
            await consumer.start(_everything, prefetch=10_000, on_delivery=bus.heard.append)
            opened.push_async_callback(consumer.stop)
        yield bus


async def _everything(channel: Channel) -> str:
    queue = await channel.declare_exclusive_queue()
    for domain in DOMAINS:
        await channel.bind(queue, domain, "#")
    return queue
