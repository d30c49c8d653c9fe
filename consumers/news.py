"""Telling all concerned what happens to an endpoint: other workers, the history, the participant."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from claimbus.broker.codec import What
from claimbus.broker.publisher import Publisher
from claimbus.database import endpoints, holds
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.holds import HoldEvent
from claimbus.events.errors import ClaimbusError
from consumers.gate import Happening

Emit = Callable[[str, bytes, str], Awaitable[None]]
"""Publishes an event: its type, its JSON body, and the participant who may see it."""

_log = structlog.get_logger("claimbus.consumers.news")


class News:
    """Spreads what a worker finds out. Nothing waits for it, and each part is tried on its own."""

    def __init__(self, worker: str, database: Database, publisher: Publisher, emit: Emit) -> None:
        self._worker = worker
        self._database = database
        self._publisher = publisher
        self._emit = emit
        self._telling: set[asyncio.Task[None]] = set()

    def happened(self, endpoint: Endpoint, what: Happening, why: str) -> None:
        """Tell that an endpoint failed for the first time, was held, or was released."""
        self._tell(self._announce(endpoint, what))
        if what != "failing":
            _log.warning(
                "endpoint " + what, endpoint=endpoint.id, participant=endpoint.participant_id, reason=why
            )
            event = HoldEvent(endpoint.id, what, datetime.now(UTC), why)
            self._tell(self._database.run(lambda sql: holds.record(sql, event)))
            self._tell(self._publish(endpoint, what, why))

    def gone(self, endpoint: Endpoint, why: str) -> None:
        """Disable an endpoint that answered 410, and tell so."""
        self._tell(self._disable(endpoint, why))

    async def aclose(self) -> None:
        """Wait until all is told."""
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _disable(self, endpoint: Endpoint, why: str) -> None:
        act = Act(self._worker, f"410 Gone: {why}")
        await self._database.run(lambda sql: endpoints.disable(sql, endpoint.id, act))
        await self._announce(endpoint, "changed")
        event = HoldEvent(endpoint.id, "disabled", act.at, act.reason)
        await self._database.run(lambda sql: holds.record(sql, event))
        await self._publish(endpoint, "disabled", act.reason)

    async def _announce(self, endpoint: Endpoint, what: What) -> None:
        await self._publisher.announce(endpoint.id, what)

    async def _publish(self, endpoint: Endpoint, what: str, why: str) -> None:
        body = {"endpoint": endpoint.id, "reason": why}
        await self._emit(f"system.endpoint.{what}", json.dumps(body).encode(), endpoint.participant_id)

    def _tell(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("not told", reason=str(error), exc_info=not isinstance(error, ClaimbusError))
