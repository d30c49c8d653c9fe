"""Streams as a participant's program sees them: raw frames over a WebSocket, TLS and a certificate."""

import asyncio
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal, Unpack

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from claimbus.broker.codec import Letter
from claimbus.broker.consumer import Consumer
from claimbus.broker.topology import DEADLETTERS, endpoint_queue, message_counts
from claimbus.cli.settings import Settings
from claimbus.database import attempts, endpoints
from claimbus.database.access import Role
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.endpoint import Settings as EndpointSettings
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Event, audience_of
from claimbus.events.stream import MAX_FRAME, SUBPROTOCOL, Ack, Delivery, Nack, decode_delivery
from claimbus.events.ticket import Ticket
from claimbus.portal.services import Services
from consumers.provision import Provision
from producers.producer import Producer
from tests.portal import processes
from tests.portal.portals import ACT, Portal, identity, open_portal, subject_of
from tests.waiting import eventually


@dataclass
class Client:
    """One connection of a participant's, and what came over it."""

    socket: ClientConnection
    got: list[Delivery] = field(default_factory=list)

    async def take(self, count: int = 1) -> list[Delivery]:
        """The next so many deliveries, unanswered."""
        async with asyncio.timeout(20):
            taken = [decode_delivery(await self.socket.recv()) for _ in range(count)]
        self.got += taken
        return taken

    async def nothing_comes(self, *, within: float = 0.5) -> bool:
        """Whether nothing comes for so long."""
        try:
            async with asyncio.timeout(within):
                self.got.append(decode_delivery(await self.socket.recv()))
        except TimeoutError:
            return True
        return False

    async def ack(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            await self.socket.send(Ack(delivery.delivery).encode())

    async def nack(self, delivery: Delivery, reason: str) -> None:
        await self.socket.send(Nack(delivery.delivery, reason).encode())

    async def ack_all(self) -> None:
        """Take and ack whatever comes, until the connection ends."""
        try:
            while True:
                await self.ack(*await self.take())
        except (ConnectionClosed, TimeoutError):
            return

    async def closed(self) -> int | None:
        """The code with which the other side closes."""
        try:
            async with asyncio.timeout(20):
                while True:
                    self.got.append(decode_delivery(await self.socket.recv()))
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code

    def cut(self) -> None:
        """Break the connection without a word."""
        self.socket.transport.abort()


@dataclass
class Stage:
    """A portal, participants with certificates, and events for them."""

    settings: Settings
    portal: Portal
    directory: Path
    producer: Producer
    clients_ca: trustme.CA
    _published: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    _contexts: dict[str | None, ssl.SSLContext] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        return self.portal.services

    def participant(self, name: str, *roles: Role) -> None:
        """A participant who has a certificate."""
        self.portal.participant(name)
        self.portal.known(subject_of(name), *(roles or (Role.PARTICIPANT,)), participant=name)

    async def endpoint(
        self, participant: str, *, provisioned: bool = True, **settings: Unpack[EndpointSettings]
    ) -> Endpoint:
        """A stream endpoint of a participant, with its queue, as a worker gives it one."""
        chosen: Any = {"name": f"stream {settings}", **settings}
        with self.services.database.transaction() as sql:
            added = endpoints.add(sql, participant, ACT, kind="stream", subscriptions=["#"], **chosen)
        if provisioned:
            await self.provision(added)
        return added

    async def provision(self, endpoint: Endpoint) -> None:
        await Provision(self.services.database, self.services.consuming).give(endpoint.id)

    def context(self, name: str | None) -> ssl.SSLContext:
        """What somebody's program connects with; a certificate if it has a name."""
        if name not in self._contexts:
            context = ssl.create_default_context(cadata=self.portal.ca.cert_pem.bytes().decode())
            if name is not None:
                with NamedTemporaryFile(dir=self.directory) as file:
                    file.write(identity(self.clients_ca, name))
                    file.flush()
                    context.load_cert_chain(file.name)
            self._contexts[name] = context
        return self._contexts[name]

    @asynccontextmanager
    async def stream(
        self,
        endpoint: Endpoint | str,
        participant: str | None,
        *,
        prefetch: int | str = 32,
        url: str | None = None,
        token: str | None = None,
        subprotocol: str = SUBPROTOCOL,
        reads_at_most: int | None = None,
        origin: str | None = None,
    ) -> AsyncIterator[Client]:
        """A connection, cut at the end of the block."""
        name = endpoint if isinstance(endpoint, str) else endpoint.id
        base = (url or self.portal.url).replace("https:", "wss:")
        async with connect(
            f"{base}/v1/endpoints/{name}/stream?prefetch={prefetch}",
            ssl=self.context(participant),
            additional_headers={} if token is None else {"authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol(subprotocol)],
            origin=None if origin is None else Origin(origin),
            compression=None,
            max_size=MAX_FRAME,
            max_queue=reads_at_most,
            open_timeout=20,
            close_timeout=1,
        ) as socket:
            client = Client(socket)
            try:
                yield client
            finally:
                client.cut()

    def event(self, *to: str, body: bytes | None = None, type_: str = "market.dam.closed") -> Event:
        example = json.dumps(lookup(type_).example).encode()
        event = self.producer.event(type_, example, audience=audience_of(to) if to else ALL)
        return event if body is None else replace(event, body=body, datacontenttype="text/plain")

    async def publish(self, *to: str, count: int = 1) -> list[str]:
        """Publish so many events; their identities."""
        events = [self.event(*to) for _ in range(count)]
        await self.producer.publish_many(events, fresh=True)
        self._published += [(to, event.identity) for event in events]
        return [event.identity for event in events]

    def published_to(self, participant: str) -> set[str]:
        """The identities of everything published so far to a participant by its name."""
        return {identity for to, identity in self._published if participant in to}

    async def redeliver(self, endpoint: Endpoint, event: Event) -> None:
        """Put an event into an endpoint's queue, past all bindings."""
        place = await self.services.store.check_in(event)
        ticket = Ticket(
            claim_id=place.claim_id,
            message_id=event.identity,
            type=event.type,
            timestamp=int(event.time.timestamp()),
            expires=place.expires,
            endpoint=endpoint.id,
        )
        await self.services.publisher.publish_redelivery(ticket)

    async def publish_status(self, sequence: int, *to: str) -> str:
        """Publish a status of one and the same outage; its identity."""
        event = replace(self.event(*to, type_="oms.resource-outage.status-changed"), sequence=sequence)
        await self.producer.publish(event, fresh=True)
        return event.identity

    async def opened(self, count: int) -> None:
        """Return once so many streams are open."""
        value = self.services.registry.get_sample_value
        await eventually(lambda: value("claimbus_open_streams") == count)

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        """Nobody else writes while this lasts."""
        other = sqlite3.connect(self.settings.database_url.removeprefix("sqlite:///"))
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.rollback()
            other.close()

    async def attempts(self, endpoint: Endpoint, count: int) -> list[Attempt]:
        """The endpoint's attempts, oldest first, once there are so many."""
        wanted = attempts.Filter(endpoint_ids=[endpoint.id])

        async def look() -> list[Attempt] | None:
            page = await self.services.database.read(lambda sql: attempts.find(sql, wanted, limit=10_000))
            return list(reversed(page.rows)) if len(page.rows) >= count else None

        return await eventually(look)

    async def left(self, endpoint: Endpoint) -> int:
        """How many tickets are in the endpoint's queue, unacked ones too, once nobody consumes it."""
        queue = endpoint_queue(endpoint.id, endpoint.generation)

        async def unconsumed() -> list[int] | None:
            counts = (await message_counts(self.services.consuming, [queue]))[queue]
            assert counts is not None
            return [counts.messages] if not counts.consumers else None

        return (await eventually(unconsumed))[0]

    async def letters(self, count: int) -> list[Letter]:
        """The dead letters once there are so many."""
        found: list[Letter] = []
        consumer = Consumer(self.services.consuming)
        await consumer.start(DEADLETTERS, prefetch=100, on_delivery=lambda one: found.append(one.letter()))
        await eventually(lambda: len(found) >= count)
        await consumer.stop()
        return found

    async def change(self, endpoint: Endpoint, **settings: Unpack[EndpointSettings]) -> Endpoint:
        changed = await self.services.database.run(
            lambda sql: endpoints.change(sql, endpoint.id, ACT, **settings)
        )
        await self.provision(changed)
        await self.announce(endpoint)
        return changed

    async def turn(self, endpoint: Endpoint, to: Literal["pause", "resume", "disable", "remove"]) -> None:
        """Let an endpoint's keeper do something to it."""
        turn = {
            "pause": endpoints.pause,
            "resume": endpoints.resume,
            "disable": endpoints.disable,
            "remove": endpoints.remove,
        }[to]
        await self.services.database.run(lambda sql: turn(sql, endpoint.id, Act("tests", "a test")))
        await self.announce(endpoint)

    async def announce(self, endpoint: Endpoint) -> None:
        await self.services.publisher.announce(endpoint.id, "changed")


@asynccontextmanager
async def portal_process(
    stage: Stage, settings: Settings
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Another portal, a process of its own, with its URL; killed at the end of the block."""
    async with processes.portal_process(settings, stage.directory / "portal.pem") as portal:
        yield portal.process, portal.url


@pytest.fixture
def stream_settings(amqp_url: str, redis_url: str, key_prefix: str, sqlite_url: str) -> Settings:
    return Settings(
        environment="test",
        amqp_url=amqp_url,
        redis_url=redis_url,
        key_prefix=key_prefix,
        database_url=sqlite_url,
        retry_ladder="300ms,600ms",
        reconcile_every=timedelta(seconds=1),
        database_timeout=timedelta(seconds=1),
        grace=timedelta(seconds=5),
        portal_listen="127.0.0.1:0",
    )


@pytest.fixture
async def stage(stream_settings: Settings, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage on which PGAE is a participant."""
    async with open_stage(stream_settings, tmp_path) as stage:
        stage.participant("PGAE")
        yield stage


@asynccontextmanager
async def open_stage(settings: Settings, directory: Path) -> AsyncIterator[Stage]:
    async with open_portal(settings, directory) as portal:
        clients_ca = trustme.CA()
        await portal.trusted(clients_ca)
        yield Stage(settings, portal, directory, portal.services.producer("tests"), clients_ca)


def identities(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.message_id for delivery in deliveries]
