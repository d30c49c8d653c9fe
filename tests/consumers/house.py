"""A whole claimbus on real servers for the tests of workers: database, store, broker, receivers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, endpoints, participants
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.endpoint import Settings as EndpointSettings
from claimbus.database.engine import Database
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Audience, Event, audience_of
from claimstore.store import ClaimStore
from consumers.metrics import Metrics
from consumers.provision import Provision
from producers.producer import Producer

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
            added = endpoints.add(sql, participant, ACT, subscriptions=subscriptions or ("#",), **chosen)
        receiver.secrets = tuple(one.value for one in added.secrets)
        if provisioned:
            await Provision(self.database, self.connection).give(added.id)
        return added, receiver

    async def worker(self, **overrides: object) -> asyncio.Event:
        """Start a worker with connections of its own; return what stops it."""
        stop, ready = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            settings = self.wiring.settings.model_copy(update=overrides)
            async with Wiring(settings) as wiring:
                worker = await wiring.worker(Metrics())
                await worker.run(stop, ready=ready.set)

        task = asyncio.create_task(work())
        self.workers.append((stop, task))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        return stop

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
        house = House(wiring, database, store, publisher, connection, producer, receivers)
        try:
            yield house
        finally:
            await house.stop_workers()
