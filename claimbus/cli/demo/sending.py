"""The ISO's systems in the demo: the one that watches the outages, and the one that runs the markets."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from claimbus.broker.publisher import Publisher
from claimbus.cli.demo.expectation import MarketEvent
from claimbus.cli.watching import owners_in, park_in
from claimbus.cli.wiring import Wiring
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from claimbus.events.event import Event
from claimbus.events.markets import market_event
from claimstore.memory import OutageMemory
from claimstore.store import ClaimStore
from producers.feed import Snapshot
from producers.oms import Watcher
from producers.producer import Producer, PublishingFailedError

OMS: Final = "oms"
"""The system that is the source of outages, and the name of its feed."""

TRY_AGAIN: Final = 0.5
"""Seconds until what could not be published is published again."""

PATIENCE: Final = 60.0
"""Seconds for which it is."""

_log = structlog.get_logger("claimbus.demo.sending")


class Sender:
    """Publishes what a trade date brings."""

    def __init__(self, watcher: Watcher, markets: Producer) -> None:
        self._watcher = watcher
        self._markets = markets

    @classmethod
    def wired(
        cls,
        wiring: Wiring,
        database: Database,
        store: ClaimStore,
        publisher: Publisher,
        published: Callable[[str], None] | None = None,
    ) -> "Sender":
        """Wire both systems; ``published`` is called with the type of each event that was confirmed."""

        def producer(system: str) -> Producer:
            return wiring.producer(store, publisher, system, database=database, published=published)

        memory = OutageMemory(store.connection, OMS, store.keys)
        watcher = Watcher(producer(OMS), memory, owners=owners_in(database), park=park_in(database))
        return cls(watcher, producer("market"))

    async def publish_day(self, snapshot: Snapshot | None, market_events: Sequence[MarketEvent]) -> None:
        """Publish what changed and the day's market events; what could not be published, again.

        Raises UnavailableError or PublishingFailedError when that does not help for a while.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if snapshot is not None:
                    await self._watcher.take(snapshot)
                    await self._watcher.carry_through(older_than=timedelta())
                for event in market_events:
                    await self._markets.publish(self._event(event))
            except (UnavailableError, PublishingFailedError) as failed:
                if not _may_pass(failed) or time.monotonic() > deadline:
                    raise
                _log.warning("not all published", reason=str(failed), next="publish again")
                await asyncio.sleep(TRY_AGAIN)
            else:
                return

    def _event(self, planned: MarketEvent) -> Event:
        _, market, name = planned.type.split(".")
        return market_event(
            market,
            name,
            trade_date=planned.trade_date,
            hour=planned.hour,
            source=self._markets.source,
            at=datetime.now(UTC),
        )


def _may_pass(failed: Exception) -> bool:
    if isinstance(failed, PublishingFailedError):
        return all(map(_may_pass, failed.exceptions))
    return isinstance(failed, UnavailableError)
