"""What the portal works with, wired."""

from functools import cache, partial

from prometheus_client import CollectorRegistry

from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.webhook import address_guard, webhooks
from claimbus.portal.identity import Identity
from claimbus.portal.ingest_intake import Intake
from claimbus.portal.redemptions import Redemptions
from claimbus.portal.services import Services
from claimbus.portal.stream_registry import Streams
from claimbus.portal.trust import Trust
from claimstore.handed import Handed
from claimstore.identities import Identities
from consumers.verification import check_target


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
