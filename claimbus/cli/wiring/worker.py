"""A worker, wired."""

from datetime import datetime

from claimbus.cli.lookups import check_age_limits
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.webhook import webhooks
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.deadletters.recover import Recovery
from claimbus.events.event import audience_of
from claimstore.latest import Latest
from claimstore.leases import Leases
from claimstore.presence import Presence
from claimstore.progress import Progress
from claimstore.quarantined import Quarantined
from consumers.metrics import Metrics
from consumers.worker import Services, Worker


async def open_worker(wiring: Wiring, metrics: Metrics) -> Worker:
    """Return a worker, wired."""
    settings, life = wiring.settings, wiring.settings.claim_life
    database, store = wiring.database(), await wiring.store()
    check_age_limits(database, life)
    publisher = await wiring.publisher("worker: publishes")
    producer = wiring.producer(
        store, publisher, "bus", published=lambda type_: metrics.published.labels(type_).inc()
    )

    async def emit(type_: str, body: bytes, participant: str) -> None:
        await producer.publish(producer.event(type_, body, audience=audience_of([participant])), fresh=True)

    consuming = await wiring.connection("worker: consumes")
    recovery = Recovery(database, store, consuming, publisher, claim_life=life)

    async def recover(endpoint: Endpoint, since: datetime) -> int:
        act = Act("worker", "its queue did not answer, or was gone")
        return (await recovery.run(endpoint.id, since, rate=None, act=act)).redelivered

    services = Services(
        database=database,
        store=store,
        consuming=consuming,
        publisher=publisher,
        holds=wiring.holds(store),
        latest=Latest(store.connection, life=life),
        presence=Presence(store.connection),
        progress=Progress(store.connection, life=life),
        leases=Leases(store.connection),
        quarantined=Quarantined(store.connection),
        webhook=webhooks(settings),
        emit=emit,
        recover=recover,
    )
    return Worker(
        services,
        ladder=wiring.topology.ladder,
        metrics=metrics,
        reconcile_every=settings.reconcile_every,
        watch_every=settings.watch_every,
        attempts_kept=settings.attempts_kept,
        grace=settings.grace,
    )
