"""``claimbus portal``: claims, streams and events over HTTPS."""

import asyncio
import gc
import os
from functools import cache, partial

import structlog
from prometheus_client import CollectorRegistry

from claimbus.cli.expiry_watch import ExpiryWatch
from claimbus.cli.logs import configure_logs
from claimbus.cli.running import run, stopped_by_signals
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import Wiring, address_guard, webhooks
from claimbus.portal.identity import Identity
from claimbus.portal.ingest_intake import Intake
from claimbus.portal.redemptions import Redemptions
from claimbus.portal.serve import serve
from claimbus.portal.services import Services
from claimbus.portal.stream_registry import Streams
from claimbus.portal.trust import Trust
from claimstore.handed import Handed
from claimstore.identities import Identities
from consumers.verification import check_target

_log = structlog.get_logger("claimbus.cli.portal")


def portal() -> None:
    """Serve the HTTP API until stopped: claims and streams to participants, events from ISO systems.

    SIGTERM or Ctrl-C finish what is under way. Any number of portals may stand behind one address; who may
    use them is kept with 'claimbus access'.
    """
    settings = load()
    configure_logs(settings.log_level, settings.log_format)
    run(_serve(settings))


async def portal_services(wiring: Wiring) -> Services:
    """Return what the portal works with, wired."""
    settings, database, store = wiring.settings, wiring.database(), await wiring.store()
    publisher = await wiring.publisher("portal: publishes")
    consuming = await wiring.connection("portal: consumes")
    trust, registry = Trust(database), CollectorRegistry()
    streams = Streams(
        database=database,
        store=store,
        consuming=consuming,
        publisher=publisher,
        ladder=wiring.topology.ladder,
        claim_life=settings.claim_life,
        grace=settings.grace,
        registry=registry,
        look_every=settings.reconcile_every,
    )
    intake = Intake(
        database,
        wiring.producer(store, publisher, "portal"),
        Identities(store.connection, life=settings.claim_life),
        sources=settings.source,
        max_body=settings.max_body,
        registry=registry,
    )
    return Services(
        database=database,
        store=store,
        handed=Handed(store.connection),
        holds=wiring.holds(store),
        consuming=consuming,
        publisher=publisher,
        producer=cache(lambda system: wiring.producer(store, publisher, system, database=database)),
        trust=trust,
        identity=Identity(database, trust, proxies=settings.portal_proxies),
        redemptions=Redemptions(database),
        streams=streams,
        intake=intake,
        webhook=webhooks(settings),
        check_url=partial(
            check_target,
            guard=address_guard(settings),
            allow_http=settings.webhook_allow_http,
            within=settings.webhook_connect_timeout.total_seconds(),
        ),
        source=settings.source,
        environment=settings.environment,
        public_url=settings.portal_url.rstrip("/"),
        allow_http=settings.webhook_allow_http,
        claim_life=settings.claim_life,
        letters_kept=settings.letters_kept,
        replay_rate=settings.replay_rate or None,
        rate=settings.portal_rate,
        registry=registry,
    )


async def _serve(settings: Settings) -> None:
    stop = stopped_by_signals()
    async with Wiring(settings) as wiring:
        services = await portal_services(wiring)
        watching = asyncio.create_task(_watch(settings, services).run())
        try:
            await serve(
                services,
                listen=settings.portal_listen,
                certificate_file=settings.portal_certificate_file,
                key_file=settings.portal_key_file,
                stop=stop,
                ready=_ready,
                grace=settings.grace,
            )
        finally:
            watching.cancel()
    _log.info("portal stopped", pid=os.getpid())


def _watch(settings: Settings, services: Services) -> ExpiryWatch:
    producer = services.producer("system")
    return ExpiryWatch(settings, services.database, services.trust, producer, services.registry)


def _ready(url: str) -> None:
    # All that was loaded stays: looking for garbage in it again and again took a quarter of a request's time.
    gc.freeze()
    _log.info("portal ready", url=url, pid=os.getpid())
