"""The composition root: from settings to open connections and what runs on them. Nothing else wires."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry

from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Topology, parse_ladder
from claimbus.cli.database import encryption_keys, open_database
from claimbus.cli.lookups import check_age_limits, known_participants
from claimbus.cli.settings import Settings
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.deadletters.attendant import Attendant
from claimbus.deadletters.measuring import Measuring
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.recorder import Recorder
from claimbus.deadletters.recover import Recovery
from claimbus.deadletters.replay import Runner
from claimbus.deadletters.retention import Retention
from claimbus.events.errors import ConfigurationError
from claimbus.events.event import audience_of
from claimbus.events.tls import client_context
from claimbus.mail.opening import open_post
from claimbus.mail.post import Post
from claimstore.holds import Holds
from claimstore.identities import Identities
from claimstore.latest import Latest
from claimstore.leases import Leases
from claimstore.progress import Progress
from claimstore.quarantined import Quarantined
from claimstore.store import ClaimStore
from consumers.addresses import AddressGuard
from consumers.contacts import Contacts
from consumers.identity import Identity
from consumers.metrics import Metrics
from consumers.webhook import Webhook
from consumers.wording import Wording
from consumers.worker import Services, Worker, worker_name
from producers.producer import Producer

OPEN_WITHIN: Final = 15.0
"""Seconds for which a server that does not answer is tried at the start of what is to stay."""

COMMAND_WITHIN: Final = 5.0
"""The same for a command that somebody waits for."""


class Wiring:
    """Opens what a command needs, each thing once, and closes it all at the end.

    An asynchronous context manager. What is opened raises ConfigurationError naming the setting at fault, or
    UnavailableError.
    """

    def __init__(self, settings: Settings, *, within: float = OPEN_WITHIN) -> None:
        """Open nothing yet; what is opened later has ``within`` seconds to answer."""
        self.settings = settings
        self._within = within
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Wiring":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    def database(self) -> Database:
        """Open the database, its schema brought up to date."""
        return self._open.enter_context(open_database(self.settings))

    async def store(self, *, strict: bool = True) -> ClaimStore:
        """Open the claim store; if ``strict``, refuse a Redis that would lose claims."""
        settings = self.settings
        return await self._open.enter_async_context(
            await ClaimStore.open(
                settings.redis_url,
                prefix=settings.key_prefix,
                life=settings.claim_life,
                max_body=settings.max_body,
                cache=settings.redeem_cache,
                keys=encryption_keys(settings),
                tls=self._tls("rediss", settings.redis_url),
                replicas=settings.redis_replicas,
                connect_within=self._within,
                strict=strict,
            )
        )

    async def publisher(self, name: str, *, declares: bool = True) -> Publisher:
        """Open a publisher; unless told otherwise it declares the topology."""
        settings = self.settings
        publisher = await Publisher.open(
            settings.amqp_url,
            name=name,
            tls=self._tls("amqps", settings.amqp_url),
            topology=self.topology if declares else None,
            window=settings.publish_window,
            confirm_timeout=settings.confirm_timeout.total_seconds(),
            within=self._within,
        )
        self._open.push_async_callback(publisher.aclose)
        return publisher

    async def connection(self, name: str) -> Connection:
        """Open a connection for anything but publishing."""
        url = self.settings.amqp_url
        tls = self._tls("amqps", url)
        connection = await Connection.open(url, name=name, tls=tls, within=self._within)
        self._open.push_async_callback(connection.aclose)
        return connection

    @property
    def topology(self) -> Topology:
        """What RabbitMQ is to have, but for endpoints."""
        return Topology(ladder=parse_ladder(self.settings.retry_ladder), claim_life=self.settings.claim_life)

    def producer(
        self,
        store: ClaimStore,
        publisher: Publisher,
        system: str,
        *,
        database: Database | None = None,
        published: Callable[[str], None] | None = None,
    ) -> Producer:
        """Return the producer of an ISO system; with ``database``, audiences are checked against it."""
        return Producer(
            store,
            Identities(store.connection, life=self.settings.claim_life),
            publisher,
            source=self.settings.source(system),
            participants=None if database is None else known_participants(database),
            published=published,
        )

    async def worker(self, metrics: Metrics) -> Worker:
        """Return a worker, wired."""
        settings, life = self.settings, self.settings.claim_life
        database, store = self.database(), await self.store()
        check_age_limits(database, life)
        publisher = await self.publisher("worker: publishes")
        producer = self.producer(
            store, publisher, "bus", published=lambda type_: metrics.published.labels(type_).inc()
        )

        async def emit(type_: str, body: bytes, participant: str) -> None:
            await producer.publish(
                producer.event(type_, body, audience=audience_of([participant])), fresh=True
            )

        consuming = await self.connection("worker: consumes")
        recovery = Recovery(database, store, consuming, publisher, claim_life=life)

        async def recover(endpoint: Endpoint, since: datetime) -> int:
            act = Act("worker", "its queue did not answer, or was gone")
            return (await recovery.run(endpoint.id, since, rate=None, act=act)).redelivered

        services = Services(
            database=database,
            store=store,
            consuming=consuming,
            publisher=publisher,
            holds=self.holds(store),
            latest=Latest(store.connection, life=life),
            progress=Progress(store.connection, life=life),
            leases=Leases(store.connection),
            quarantined=Quarantined(store.connection),
            webhook=webhooks(settings),
            emit=emit,
            recover=recover,
        )
        return Worker(
            services,
            ladder=self.topology.ladder,
            metrics=metrics,
            reconcile_every=settings.reconcile_every,
            watch_every=settings.watch_every,
            attempts_kept=settings.attempts_kept,
            grace=settings.grace,
        )

    async def attendant(self, registry: CollectorRegistry) -> Attendant:
        """Return what attends to dead letters, wired; its metrics go into the registry.

        On connections of its own: a replay at full speed takes nothing of a worker's beside it.
        """
        settings, name, metrics = self.settings, worker_name(), LettersMetrics(registry)
        database, store = self.database(), await self.store()
        publisher = await self.publisher("attendant: publishes")
        connection = await self.connection("attendant: consumes")
        budget, life = settings.letters_budget, settings.claim_life
        runner = Runner(
            database, store, self.holds(store), publisher, name=name, claim_life=life, metrics=metrics
        )
        retention = Retention(
            database,
            Leases(store.connection),
            name=name,
            letters_kept=settings.letters_kept,
            rows_kept=settings.attempts_kept,
        )
        return Attendant(
            runner=runner,
            recorder=Recorder(connection, store, database, budget=budget, metrics=metrics),
            retention=retention,
            measuring=Measuring(connection, database, budget=budget, metrics=metrics),
        )

    def contacts(self, registry: CollectorRegistry) -> Contacts | None:
        """Return what tells contacts by mail; None: it is not set up."""
        settings, post = self.settings, post_office(self.settings)
        if post is None:
            return None
        wording = Wording(
            environment=settings.environment,
            portal_url=settings.portal_url.rstrip("/"),
            zone=ZoneInfo(settings.feed_timezone),
        )
        return Contacts(
            self.database(),
            post,
            wording,
            name=worker_name(),
            registry=registry,
            gather=settings.mail_gather,
        )

    def holds(self, store: ClaimStore) -> Holds:
        """Return which endpoints are held, as the store knows it."""
        settings = self.settings
        return Holds(
            store.connection,
            threshold=settings.hold_after,
            shortest=settings.hold_pause,
            longest=settings.hold_pause_longest,
            life=settings.claim_life,
        )

    def _tls(self, scheme: str, url: str) -> ssl.SSLContext | None:
        if url.partition("://")[0].partition("+")[0] != scheme:
            return None
        settings = self.settings
        return client_context(
            ca_file=settings.tls_ca_file,
            certificate_file=settings.tls_certificate_file,
            key_file=settings.tls_key_file,
        )


@asynccontextmanager
async def open_producer(
    settings: Settings,
    system: str = "bus",
    *,
    check_audience: bool = True,
    within: float = OPEN_WITHIN,
) -> AsyncIterator[Producer]:
    """Open an ISO system's producer with connections of its own; `producers.sync.SyncProducer` takes this.

    ``check_audience``: participants must be in the database, which then must answer too. The servers have
    ``within`` seconds to answer.
    """
    async with Wiring(settings, within=within) as wiring:
        database = wiring.database() if check_audience else None
        store, publisher = await wiring.store(), await wiring.publisher(f"{system}: publishes")
        yield wiring.producer(store, publisher, system, database=database)


def post_office(settings: Settings) -> Post | None:
    """Return where mails are posted; None: nowhere. Raises ConfigurationError."""
    if not settings.mail_url:
        return None

    def tls() -> ssl.SSLContext:
        try:
            return client_context(ca_file=settings.mail_ca_file)
        except ConfigurationError as wrong:
            raise ConfigurationError("CLAIMBUS_MAIL_CA_FILE", wrong.reason) from wrong

    return open_post(settings.mail_url, sender=settings.mail_from, tls=tls)


def address_guard(settings: Settings) -> AddressGuard:
    """Return the guard of where webhooks may connect to."""
    return AddressGuard(allow=settings.webhook_networks, ports=settings.webhook_ports)


def webhooks(settings: Settings) -> Callable[[Endpoint], Webhook]:
    """Return what makes an endpoint's webhook."""
    guard = address_guard(settings)
    identity = _identity(settings.webhook_certificate_file, settings.webhook_key_file)
    authorities = _read(settings.webhook_ca_file, "CLAIMBUS_WEBHOOK_CA_FILE")

    def webhook(endpoint: Endpoint) -> Webhook:
        own = endpoint.ca_pem.encode() if endpoint.ca_pem else None
        return Webhook(
            endpoint.url or "",
            secrets=endpoint.signing_secrets(datetime.now(UTC)),
            guard=guard,
            timeout=endpoint.timeout_s,
            connect_timeout=settings.webhook_connect_timeout.total_seconds(),
            concurrency=1 if endpoint.ordered else endpoint.concurrency,
            ca_pem=own or authorities,
            identity_pem=identity,
            allow_http=settings.webhook_allow_http,
            origin=settings.webhook_origin or f"{settings.environment}.claimbus",
        )

    return webhook


def _identity(certificate: Path | None, key: Path | None) -> bytes | None:
    """Return our certificate and key. What cannot be used stops the start: nothing is sent without it."""
    setting = "CLAIMBUS_WEBHOOK_CERTIFICATE_FILE"
    if certificate is None:
        if key is not None:
            raise ConfigurationError(setting, "must be given with CLAIMBUS_WEBHOOK_KEY_FILE")
        return None
    found = _read(certificate, setting) or b""
    pem = found + (_read(key, "CLAIMBUS_WEBHOOK_KEY_FILE") or b"")
    try:
        Identity(pem).check()
    except ConfigurationError as unusable:
        raise ConfigurationError(setting, f"{certificate}: {unusable.reason}") from unusable
    return pem


def _read(file: Path | None, setting: str) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as unreadable:
        raise ConfigurationError(setting, f"{file}: {unreadable.strerror}") from unreadable
