"""The gauges of dead letters, refreshed now and then, and the alarm before the budget is used up."""

import asyncio
from typing import Final

import structlog

from claimbus.broker.connection import Connection
from claimbus.broker.topology import DEADLETTERS, message_counts
from claimbus.database import kept, letters
from claimbus.database.engine import Database
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.events.errors import UnavailableError

MEASURE_EVERY: Final = 10.0
"""Seconds."""

NEARLY_FULL: Final = 0.8
"""The part of the budget from which on each look warns."""

_log = structlog.get_logger("claimbus.deadletters.measuring")


class Measuring:
    """Looks at the database and at the queue, and sets the gauges."""

    def __init__(
        self,
        connection: Connection,
        database: Database,
        *,
        budget: int,
        metrics: LettersMetrics,
        every: float = MEASURE_EVERY,
    ) -> None:
        """Wire it; ``budget`` is in bytes, ``every`` in seconds."""
        self._connection = connection
        self._database = database
        self._budget = budget
        self._metrics = metrics
        self._every = every
        metrics.budget.set(budget)

    async def run(self) -> None:
        """Measure now and then, until cancelled."""
        while True:
            try:
                await self.measure()
            except UnavailableError as away:
                _log.warning("letters not measured", reason=str(away), next="try again")
            await asyncio.sleep(self._every)

    async def measure(self) -> None:
        """Set all gauges; warn when the bodies leave little room. Raises UnavailableError."""
        dead, stored = await self._database.read(
            lambda sql: (letters.count(sql, letters.Filter(), by="cause"), kept.stored_bytes(sql))
        )
        self._metrics.dead(dead)
        self._metrics.stored.set(stored)
        if stored > NEARLY_FULL * self._budget:
            _log.warning(
                "letters fill their budget",
                stored=stored,
                budget=self._budget,
                next="once it is full none is recorded: keep bodies for less long, or raise it",
            )
        waiting = (await message_counts(self._connection, [DEADLETTERS]))[DEADLETTERS]
        self._metrics.lag.set(waiting.messages if waiting else 0)
