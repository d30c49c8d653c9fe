"""Quarantine: a queue that does not answer must not stop the confirms of all others.

A confirm waits for every queue that a message was routed to, so one whose leader is lost stops producers.
They know no endpoint; so the workers, one of them at a time, ask each endpoint's queue whether it answers,
unbind one that does not, and raise an alarm. Once it answers again it is bound, and what it missed comes from
the journal.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from claimbus.broker import quarantine, topology
from claimbus.broker.connection import Connection
from claimbus.broker.errors import TopologyError
from claimbus.database import endpoints
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimstore.leases import Leases
from claimstore.quarantined import Quarantined
from consumers.provision import Provision

WATCH_EVERY: Final = timedelta(seconds=5)
"""Time between two looks at all queues."""

LEASE: Final = 30.0
"""Seconds for which one worker is the one that looks."""

MARGIN: Final = 120
"""Seconds before the quarantine's beginning from which the journal is read: what was under way by then."""

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
    ) -> None:
        """Wire the watch; ``alarm`` is told after each look how many endpoints are in quarantine."""
        self._database = database
        self._leases = leases
        self._quarantined = quarantined
        self._provision = provision
        self._connection = connection
        self._recover = recover
        self._worker = worker
        self._alarm = alarm

    async def look(self) -> bool:
        """Look at all queues if it is this worker's turn; tell whether any endpoint came back.

        Raises UnavailableError; the next look goes on from there.
        """
        if not await self._leases.take("quarantine", self._worker, seconds=LEASE):
            return False
        found = await self._database.read(endpoints.find)
        hanging = await self._quarantined.all()
        came_back = False
        for gone in hanging.keys() - {endpoint.id for endpoint in found}:
            await self._quarantined.remove(gone)
            del hanging[gone]
        for endpoint in found:
            answers = await self._answers(endpoint)
            if endpoint.id in hanging and answers:
                await self._release(endpoint, hanging.pop(endpoint.id))
                came_back = True
            elif endpoint.id not in hanging and answers is False:
                await self._quarantine(endpoint)
                hanging[endpoint.id] = 0
        self._alarm(len(hanging))
        return came_back

    async def _answers(self, endpoint: Endpoint) -> bool | None:
        """Tell whether the endpoint's queue answers; None when there is no such queue (yet)."""
        queue = topology.endpoint_queue(endpoint.id, endpoint.generation)
        try:
            return await quarantine.answers(self._connection, queue)
        except TopologyError:
            return None

    async def _quarantine(self, endpoint: Endpoint) -> None:
        _log.error("queue does not answer", endpoint=endpoint.id, next="quarantine: unbind it")
        await self._quarantined.put(endpoint.id, round(time.time() * 1000))
        await self._provision.unbind(endpoint)

    async def _release(self, endpoint: Endpoint, since_ms: int) -> None:
        """Bind the queue again, then give it what it missed, then call it healed: in this order."""
        await self._provision.give(endpoint.id, anew=True)
        since = datetime.fromtimestamp(since_ms / 1000 - MARGIN, UTC)
        try:
            recovered = await self._recover(endpoint, since)
        except NotFoundError:
            recovered = 0  # it was removed meanwhile
        await self._quarantined.remove(endpoint.id)
        _log.warning("queue answers again", endpoint=endpoint.id, recovered=recovered, next="bound again")
