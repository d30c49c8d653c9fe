"""A whole claimbus on real servers for the tests of workers: database, store, broker, receivers."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from claimbus.broker import frames
from claimbus.broker.codec import Letter
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer
from claimbus.broker.frames import Message
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import DEADLETTERS, REDELIVER, endpoint_queue, message_counts
from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.worker import open_worker
from claimbus.database import attempts, bindings, endpoints, holds, participants
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.endpoint import Settings as EndpointSettings
from claimbus.database.engine import Database
from claimbus.database.holds import HoldEvent
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Audience, Event, audience_of
from claimbus.events.ticket import Ticket
from claimstore.claim import CheckedIn
from claimstore.holds import Holds
from claimstore.store import ClaimStore
from consumers.metrics import Metrics
from consumers.provision import Provision
from consumers.worker import Worker
from producers.producer import Producer
from tests.waiting import eventually

ACT = Act("tests")


@dataclass
class House:
    """Everything opened once; workers come and go."""

    wiring: Wiring
    database: Database
    store: ClaimStore
    publisher: Publisher
    connection: Connection
    producer: Producer
    receivers: Receivers
    holds: Holds
    workers: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)

    def participant(self, name: str) -> None:
        with self.database.transaction() as sql:
            participants.add(sql, name, f"{name} Inc", ACT)

    async def endpoint(
        self,
        participant: str,
        *subscriptions: str,
        behaviour: Behaviour | None = None,
        provisioned: bool = True,
        verified: bool = True,
        **settings: Unpack[EndpointSettings],
    ) -> tuple[Endpoint, Receiver]:
        """An endpoint with a receiver of its own behind it."""
        name = f"{participant.lower()}{len(self.receivers.by_name)}"
        receiver = await self.receivers.add(name, *([behaviour] if behaviour else []))
        known = {
            "name": f"to {receiver.url}",
            "url": receiver.url,
            "ca_pem": receiver.ca_pem.decode(),
            "timeout_s": 5.0,
        }
        chosen: Any = {**known, **settings}
        with self.database.transaction() as sql:
            added = endpoints.add(
                sql, participant, ACT, subscriptions=subscriptions or ("#",), verified=verified, **chosen
            )
        receiver.secrets = tuple(one.value for one in added.secrets)
        if provisioned:
            await Provision(self.database, self.connection).give(added.id)
        return added, receiver

    async def worker(self, **overrides: object) -> Worker:
        """Start a worker with connections of its own and return it, ready."""
        stop, ready = asyncio.Event(), asyncio.Event()
        started: list[Worker] = []

        async def work() -> None:
            settings = self.wiring.settings.model_copy(update=overrides)
            async with Wiring(settings) as wiring:
                worker = await open_worker(wiring, Metrics())
                started.append(worker)
                await worker.run(stop, ready=ready.set)

        task = asyncio.create_task(work())
        self.workers.append((stop, task))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        return started[0]

    async def stop_workers(self) -> None:
        workers, self.workers = self.workers, []
        for stop, _ in workers:
            stop.set()
        await asyncio.gather(*(task for _, task in workers))

    def event(self, *to: str, type_: str = "market.dam.closed") -> Event:
        """An event for these participants, or for all."""
        audience: Audience = audience_of(to) if to else ALL
        body = json.dumps(lookup(type_).example).encode()
        return self.producer.event(type_, body, audience=audience)

    async def publish(self, *to: str, count: int = 1, type_: str = "market.dam.closed") -> list[str]:
        """Publish so many events; return their identities."""
        events = [self.event(*to, type_=type_) for _ in range(count)]
        await self.producer.publish_many(events, fresh=True)
        return [event.identity for event in events]

    async def attempts(self, endpoint: Endpoint) -> list[Attempt]:
        """The endpoint's attempts, oldest first."""
        wanted = attempts.Filter(endpoint_ids=[endpoint.id])
        page = await self.database.read(lambda sql: attempts.find(sql, wanted, limit=10_000))
        return list(reversed(page.rows))

    async def is_held(self, endpoint: Endpoint) -> bool:
        return (await self.holds.state([endpoint.id]))[endpoint.id].held

    async def is_open(self, endpoint: Endpoint) -> bool:
        return not await self.is_held(endpoint)

    async def pause_of(self, endpoint: Endpoint, *, at_least: int) -> bool:
        """Whether the pause between probes has grown to so many milliseconds."""
        return ((await self.holds.state([endpoint.id]))[endpoint.id].pause or 0) >= at_least

    async def hold_events(self, endpoint: Endpoint, count: int) -> list[HoldEvent] | None:
        """What the history says of the endpoint, oldest first, once it says so much."""
        found = await self.database.read(lambda sql: holds.find(sql, endpoint_id=endpoint.id))
        return list(reversed(found)) if len(found) >= count else None

    def state_of(self, endpoint: Endpoint) -> str:
        with self.database.snapshot() as sql:
            return endpoints.get(sql, endpoint.id).state

    async def enable(self, endpoint: Endpoint) -> None:
        await self.database.run(lambda sql: endpoints.enable(sql, endpoint.id, ACT))
        await self.publisher.announce(endpoint.id, "changed")

    async def remove(self, endpoint: Endpoint) -> None:
        await self.database.run(lambda sql: endpoints.remove(sql, endpoint.id, ACT))
        await self.publisher.announce(endpoint.id, "changed")

    async def change(self, endpoint: Endpoint, **settings: Unpack[EndpointSettings]) -> None:
        await self.database.run(lambda sql: endpoints.change(sql, endpoint.id, ACT, **settings))
        await self.publisher.announce(endpoint.id, "changed")

    async def active_on(self, workers: Iterable[Worker]) -> bool:
        """Whether each of these workers is the active consumer of some ordered endpoint."""
        await self.publish()
        return all(any(lane.tried for lane in worker._roster.lanes) for worker in workers)

    async def bound(self, endpoint: Endpoint) -> bool:
        return bool(await self.database.read(lambda sql: bindings.current(sql, endpoint.id)))

    async def has_no_queue(self, endpoint: Endpoint) -> bool:
        queue = endpoint_queue(endpoint.id, endpoint.generation)
        return (await message_counts(self.connection, [queue]))[queue] is None

    async def letters(self, count: int) -> list[Letter] | None:
        """The dead letters once there are so many; they stay where they are."""
        if (await message_counts(self.connection, [DEADLETTERS]))[DEADLETTERS] is None:
            return None
        found: list[Letter] = []
        consumer = Consumer(self.connection)
        await consumer.start(
            DEADLETTERS, prefetch=1000, on_delivery=lambda delivery: found.append(delivery.letter())
        )
        try:
            await eventually(lambda: len(found) >= count, within=1.0)
        except AssertionError:
            return None
        finally:
            await consumer.stop()
        return found

    def ticket(self, event: Event, checked_in: CheckedIn) -> Ticket:
        return Ticket(
            claim_id=checked_in.claim_id,
            message_id=event.identity,
            type=event.type,
            timestamp=int(event.time.timestamp()),
            expires=checked_in.expires,
        )

    async def publish_raw(self, endpoint: Endpoint, body: bytes) -> None:
        """Put a message that is no ticket into an endpoint's queue."""
        encoded = frames.properties(content_type="application/octet-stream", headers={})
        await self.publisher.publish(Message(REDELIVER, endpoint.id, encoded, body))

    async def delete_claims(self) -> None:
        ask = self.store.connection.ask
        keys = await ask("KEYS", f"{self.store.connection.prefix}claim:*")
        await ask("DEL", *(key.decode() for key in keys))

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        """Nobody else writes while this lasts."""
        other = sqlite3.connect(self.wiring.settings.database_url.removeprefix("sqlite:///"))
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.rollback()
            other.close()

    async def attempts_when(self, endpoint: Endpoint, count: int) -> list[Attempt] | None:
        """The attempts once there are so many; None before."""
        found = await self.attempts(endpoint)
        return found if len(found) >= count else None


@asynccontextmanager
async def open_house(settings: Settings, directory: Path) -> AsyncIterator[House]:
    async with Wiring(settings) as wiring, Receivers.open(directory) as receivers:
        database, store = wiring.database(), await wiring.store()
        publisher = await wiring.publisher("tests")
        producer = wiring.producer(store, publisher, "tests", database=database)
        connection = await wiring.connection("tests")
        holds = Holds(store.connection)
        house = House(wiring, database, store, publisher, connection, producer, receivers, holds)
        try:
            yield house
        finally:
            await house.stop_workers()
