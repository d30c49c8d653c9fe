"""Quarantine: a queue that does not answer must not stop the confirms of all others, and none stays gone.

A confirm waits for every queue that a message was routed to, so one whose leader is lost stops producers.
They know no endpoint; so the workers, one of them at a time, ask each endpoint's queue whether it answers,
unbind one that does not, and raise an alarm. Once it answers again it is bound, and what it missed comes from
the journal. A queue that somebody deleted is made again, and the same follows; what had waited in it is gone
with it, and an operator's to recover.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from claimbus.broker import quarantine, topology
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, TopologyError
from claimbus.database import audit, endpoints
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.events.event import format_time
from claimstore.leases import Leases
from claimstore.quarantined import Quarantined
from consumers.provision import Provision

if TYPE_CHECKING:
    from sqlalchemy import Connection as Sql

WATCH_EVERY: Final = timedelta(seconds=5)
"""Time between two looks at all queues."""

LEASE: Final = 30.0
"""Seconds for which one worker is the one that looks; it renews the lease while it does."""

MARGIN: Final = 120
"""Seconds before the quarantine's beginning from which the journal is read: what was under way by then."""

RECOVERS_FOR: Final = 15.0
"""Seconds after which a look recovers no further endpoint: the others' queues must be looked at, too."""

Recover = Callable[[Endpoint, datetime], Awaitable[int]]
"""Sends an endpoint what was published since a moment and it did not get; returns how many deliveries."""

_log = structlog.get_logger("claimbus.consumers.quarantine")


class Quarantine:
    """The watch over the endpoints' queues; any number of workers run it, one at a time looks."""

    def __init__(
        self,
        *,
        worker: str,
        database: Database,
        leases: Leases,
        quarantined: Quarantined,
        provision: Provision,
        connection: Connection,
        recover: Recover,
        alarm: Callable[[int], None],
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Wire the watch.

        ``alarm`` is told at each look how many endpoints are in quarantine, ``lost`` is called for each queue
        that was gone.
        """
        self._database = database
        self._leases = leases
        self._quarantined = quarantined
        self._provision = provision
        self._connection = connection
        self._recover = recover
        self._worker = worker
        self._alarm = alarm
        self._lost = lost

    async def look(self) -> bool:
        """Look at all queues if it is this worker's turn; tell whether any endpoint came back.

        It ends early when the lease is lost. Raises UnavailableError; the next look goes on from there.
        """
        if not await self._takes_lease():
            return False
        looking = asyncio.create_task(self._look())
        keeping = asyncio.create_task(self._keep_lease())
        try:
            await asyncio.wait([looking, keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = looking if looking.done() else keeping
            looking.cancel()
            keeping.cancel()
            await asyncio.gather(looking, keeping, return_exceptions=True)
        return ended.result()

    async def _takes_lease(self) -> bool:
        return await self._leases.take("quarantine", self._worker, seconds=LEASE)

    async def _keep_lease(self) -> bool:
        """Renew the lease for as long as another worker lets it; False then."""
        while True:
            await asyncio.sleep(LEASE / 3)
            if not await self._takes_lease():
                _log.warning("another worker watches the queues", next="stop looking")
                return False

    async def _look(self) -> bool:
        begun = round(time.time() * 1000)
        found = await self._database.read(endpoints.find)
        hanging = await self._quarantined.all()
        seen = min(begun, await self._quarantined.last_look() or begun)
        for gone in hanging.keys() - {endpoint.id for endpoint in found}:
            await self._quarantined.remove(gone)
            del hanging[gone]
        bound: list[Endpoint] = []
        unseen = 0
        for endpoint in found:
            try:
                if await self._is_back(endpoint, hanging, seen):
                    bound.append(endpoint)
            except (TopologyError, NotFoundError) as failed:
                _log.error("queue not given", endpoint=endpoint.id, reason=str(failed), next="try again")
            except BrokerUnavailableError as silent:
                if not self._connection.is_open:
                    raise
                unseen += 1
                _log.warning("queue not seen", endpoint=endpoint.id, reason=str(silent), next="look again")
        if not unseen:  # else the moment before stands: from it is recovered what a lost queue missed
            await self._quarantined.note_look(begun)
        self._alarm(len(hanging))
        for endpoint in bound:
            if time.time() - begun / 1000 > RECOVERS_FOR:
                break
            await self._heal(endpoint, hanging.pop(endpoint.id))
        self._alarm(len(hanging))
        return bool(bound)

    async def _is_back(self, endpoint: Endpoint, hanging: dict[str, int], seen: int) -> bool:
        """Look at one endpoint's queue; tell whether it is bound again and misses what was published."""
        answers = await self._answers(endpoint)
        if answers is None:
            return await self._make_again(endpoint, hanging, seen)
        if answers and endpoint.id in hanging:
            await self._provision.give(endpoint.id, lost=True)
            return True
        if not answers and (endpoint.id not in hanging or await self._provision.is_bound(endpoint)):
            hanging.setdefault(endpoint.id, await self._quarantine(endpoint))  # whoever began may have died
        return False

    async def _answers(self, endpoint: Endpoint) -> bool | None:
        """Tell whether the endpoint's queue answers; None when there is no such queue."""
        queue = topology.endpoint_queue(endpoint.id, endpoint.generation)
        try:
            return await quarantine.answers(self._connection, queue)
        except TopologyError:
            return None

    async def _make_again(self, endpoint: Endpoint, hanging: dict[str, int], seen: int) -> bool:
        """Make a queue that is not there; tell whether it was there before, and misses something."""
        current = await self._database.read(lambda sql: endpoints.get(sql, endpoint.id))
        if current.removed_at is not None or current.generation != endpoint.generation:
            return False  # it was removed on purpose while others were looked at
        lost = endpoint.id in hanging or await self._provision.is_bound(endpoint)
        if lost:
            # Whoever goes on from here, should this worker die, knows by it what is to be recovered.
            await self._quarantined.put(endpoint.id, seen)
            hanging.setdefault(endpoint.id, seen)
        await self._provision.give(endpoint.id, lost=True)
        if lost:
            await self._raise_alarm(endpoint, hanging[endpoint.id])
        return lost

    async def _raise_alarm(self, endpoint: Endpoint, seen: int) -> None:
        self._lost()
        last_seen = format_time(_moment(seen))
        _log.error(
            "queue is gone, and what waited in it",
            endpoint=endpoint.id,
            last_seen=last_seen,
            next="made again, with what was published since; for what waited before:"
            " claimbus deadletters reconcile, claimbus recover",
        )
        act = Act("worker", "its queue was gone: what had waited in it must be recovered")
        subject = Subject("endpoint", endpoint.id, endpoint.organisation_id)
        after = {"last_seen": last_seen}

        def note(sql: "Sql") -> None:
            audit.append(sql, act, "queue lost", subject, after=after)
            endpoints.renew(sql, endpoint.id)  # RabbitMQ 3.10 does not always tell the consumers

        await self._database.run(note)

    async def _quarantine(self, endpoint: Endpoint) -> int:
        """Unbind a queue; return since when it is in quarantine."""
        _log.error("queue does not answer", endpoint=endpoint.id, next="quarantine: unbind it")
        since = round(time.time() * 1000)
        await self._quarantined.put(endpoint.id, since)
        await self._provision.unbind(endpoint)
        return since

    async def _heal(self, endpoint: Endpoint, since: int) -> None:
        """Give a queue, bound again, what it missed; only then call it healed."""
        begin = max(_moment(since) - timedelta(seconds=MARGIN), endpoint.created_at)
        try:
            recovered = await self._recover(endpoint, begin)
        except NotFoundError:
            recovered = 0  # it was removed meanwhile
        except TopologyError as failed:
            _log.error("nothing recovered", endpoint=endpoint.id, reason=str(failed), next="try again")
            return
        # Once more: whoever made the queue again may have died before it had the workers begin anew.
        await self._database.run(lambda sql: endpoints.renew(sql, endpoint.id))
        await self._quarantined.remove(endpoint.id)
        _log.warning("queue is bound again", endpoint=endpoint.id, recovered=recovered)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
