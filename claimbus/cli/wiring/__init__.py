"""The composition root: from settings to open connections, on which the modules here put rooms together."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Topology, parse_ladder
from claimbus.cli.database import encryption_keys, open_database
from claimbus.cli.lookups import known_participants
from claimbus.cli.settings import Settings
from claimbus.database.engine import Database
from claimbus.events.tls import client_context
from claimstore.holds import Holds
from claimstore.identities import Identities
from claimstore.store import ClaimStore
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
