"""A worker: from the queues of all endpoints to their receivers, until it is told to stop."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from claimbus.broker.codec import Announcement
from claimbus.broker.connection import Connection
from claimbus.broker.connections import Connections
from claimbus.broker.control import listen
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Rung
from claimbus.database import type_dates
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from claimstore.holds import Holds
from claimstore.latest import Latest
from claimstore.leases import Leases
from claimstore.presence import Presence
from claimstore.progress import Progress
from claimstore.quarantined import Quarantined
from claimstore.store import ClaimStore
from consumers.certificate_watch import CertificateWatch
from consumers.crew import Crew
from consumers.disposition import Disposition
from consumers.garbage import collect_seldom
from consumers.handler import Handler
from consumers.metrics import Metrics
from consumers.news import Emit, News
from consumers.provision import Provision
from consumers.quarantine import WATCH_EVERY, Quarantine, Recover
from consumers.recorder import Recorder
from consumers.retention import Retention
from consumers.roster import Roster
from consumers.webhook import Webhook
from consumers.yard import Yard

RECONCILE_EVERY: Final = timedelta(seconds=30)
ATTEMPTS_KEPT: Final = timedelta(days=90)
GRACE: Final = timedelta(seconds=30)

_log = structlog.get_logger("claimbus.consumers.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The open connections that a worker works with; they stay their opener's.

    ``consuming`` and ``publisher`` are two connections: an alarm of RabbitMQ's blocks one that publishes.
    ``recover`` gives an endpoint what it missed in quarantine.
    """

    database: Database
    store: ClaimStore
    consuming: Connection
    publisher: Publisher
    holds: Holds
    latest: Latest
    presence: Presence
    progress: Progress
    leases: Leases
    quarantined: Quarantined
    webhook: Callable[[Endpoint], Webhook]
    emit: Emit
    recover: Recover


def worker_name() -> str:
    """Return a name that no other worker has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Worker:
    """Runs its share of the lanes of all endpoints, and the watches that keep them right."""

    def __init__(
        self,
        services: Services,
        *,
        ladder: tuple[Rung, ...],
        metrics: Metrics,
        reconcile_every: timedelta = RECONCILE_EVERY,
        watch_every: timedelta = WATCH_EVERY,
        attempts_kept: timedelta = ATTEMPTS_KEPT,
        grace: timedelta = GRACE,
    ) -> None:
        """Wire a worker; nothing happens before `run`. ``grace`` is what stopping takes at most."""
        name = worker_name()
        self._services = services
        self._metrics = metrics
        self._reconcile_every = reconcile_every.total_seconds()
        self._watch_every = watch_every.total_seconds()
        self._grace = grace.total_seconds()
        self._recorder = Recorder(services.database)
        self._disposition = Disposition(self._recorder, services.publisher, ladder, metrics)
        self._news = News(name, services.database, services.publisher, services.emit)
        self._provision = Provision(services.database, services.consuming)
        self._handler = Handler(services.store, services.latest)
        self._connections = Connections(services.consuming)
        self._crew = Crew(
            services.presence,
            name,
            able=lambda: services.consuming.is_open and self._recorder.available,
            announce=lambda: services.publisher.announce("", "workers"),
        )
        yard = Yard(
            worker=name,
            connections=self._connections,
            handler=self._handler,
            disposition=self._disposition,
            holds=services.holds,
            progress=services.progress,
            ladder=tuple(rung.delay.total_seconds() for rung in ladder),
            webhook=services.webhook,
            news=self._news.happened,
            gone=self._news.gone,
        )
        self._roster = Roster(
            services.database,
            self._provision,
            services.publisher,
            services.quarantined,
            yard,
            crew=self._crew,
            grace=self._grace,
        )
        self._quarantine = Quarantine(
            worker=name,
            database=services.database,
            leases=services.leases,
            quarantined=services.quarantined,
            provision=self._provision,
            connection=services.consuming,
            recover=services.recover,
            alarm=metrics.quarantined.set,
            lost=metrics.lost.inc,
        )
        self._retention = Retention(services.database, services.leases, worker=name, kept=attempts_kept)
        self._certificates = CertificateWatch(
            services.database, services.leases, services.webhook, worker=name
        )
        self._changed = asyncio.Event()
        self._measured: set[str] = set()
        store, roster, crew = services.store, self._roster, self._crew
        metrics.redeems.labels("redis").set_function(lambda: store.read)
        metrics.redeems.labels("cache").set_function(lambda: store.redeemed - store.read)
        publishing = services.publisher.connection
        metrics.blocked.set_function(lambda: publishing.blocked is not None)
        metrics.lanes.set_function(lambda: len(roster.lanes))
        metrics.held.set_function(lambda: sum(lane.held and not lane.share.place for lane in roster.lanes))
        metrics.workers.set_function(lambda: len(crew.workers))
        metrics.unacked.set_function(lambda: sum(lane.unacked for lane in roster.lanes))

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop``; then finish what is in flight and hand the rest back.

        ``ready`` is called once all endpoints have their queues, and this worker its lanes. Raises what makes
        working impossible from the start; later faults are waited out.
        """
        collect_seldom()
        recording = asyncio.create_task(self._recorder.run())
        control = await listen(self._services.consuming, self._heard)
        watches: list[asyncio.Task[None]] = []
        try:
            await self._heed_dates()
            await self._roster.reconcile(
                anew=True
            )  # queues and bindings; its share of lanes once it is there
            await self._crew.enter()
            watches.append(asyncio.create_task(self._crew.watch(self._changed.set)))
            await self._roster.reconcile()
            watches += [
                asyncio.create_task(watch)
                for watch in (
                    self._keep_reconciled(),
                    self._keep_watch(),
                    self._retention.run(),
                    self._certificates.run(),
                )
            ]
            ready()
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([stopped, recording, *watches], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            for watch in watches:
                watch.cancel()
            await control.stop()
            await asyncio.gather(self._crew.leave(), self._roster.aclose())
            await self._connections.aclose()
            self._recorder.close()
            await asyncio.wait([recording], timeout=self._grace)
            recording.cancel()
            await self._disposition.aclose(within=self._grace)
            await self._news.aclose()
        for ended in (recording, *watches):
            if ended.done() and not ended.cancelled():
                ended.result()

    def _heard(self, announcement: Announcement) -> None:
        match announcement.what:
            case "changed" | "workers":
                self._changed.set()
            case what:
                self._roster.hear(announcement.endpoint, what)

    async def _keep_reconciled(self) -> None:
        """Reconcile when a change is announced, and now and then in case an announcement was missed."""
        while True:
            try:
                async with asyncio.timeout(self._reconcile_every):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            crew, roster = self._crew, self._roster
            for step in (crew.look, roster.reconcile, roster.refresh, self._heed_dates, self._measure):
                try:
                    await step()
                except UnavailableError as away:
                    _log.warning("not reconciled", reason=str(away), next="try again")

    async def _heed_dates(self) -> None:
        self._handler.heed(await self._services.database.read(type_dates.types_in_force))

    async def _measure(self) -> None:
        found = await self._provision.counts([lane.queue for lane in self._roster.lanes])
        for queue, counts in found.items():
            self._metrics.depth.labels(queue).set(counts.messages)
        for queue in self._measured - found.keys():  # another worker's by now
            self._metrics.depth.remove(queue)
        self._measured = set(found)

    async def _keep_watch(self) -> None:
        """Look after queues that hang, when it is this worker's turn."""
        while True:
            await asyncio.sleep(self._watch_every)
            try:
                if await self._quarantine.look():
                    self._changed.set()
            except UnavailableError as away:
                _log.warning("queues not watched", reason=str(away), next="try again")
