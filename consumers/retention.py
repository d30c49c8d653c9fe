"""Forgetting old attempts: a little at a time, by one worker at a time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from claimbus.database import attempts
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from claimstore.leases import Leases

SWEEP_EVERY: Final = 600.0
"""Seconds between two sweeps."""

_log = structlog.get_logger("claimbus.consumers.retention")


class Retention:
    """Keeps the attempts of the last ``kept``, and no older ones."""

    def __init__(self, database: Database, leases: Leases, *, worker: str, kept: timedelta) -> None:
        self._database = database
        self._leases = leases
        self._worker = worker
        self._kept = kept

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                if await self._leases.take("retention", self._worker, seconds=2 * SWEEP_EVERY):
                    await self.sweep()
            except UnavailableError as away:
                _log.warning("attempts not swept", reason=str(away), next="try again")
            await asyncio.sleep(SWEEP_EVERY)

    async def sweep(self) -> int:
        """Forget what is too old, in transactions short enough for attempts to be recorded between."""
        before, forgotten = datetime.now(UTC) - self._kept, 0
        while some := await self._database.run(lambda sql: attempts.forget(sql, before)):
            forgotten += some
        if forgotten:
            _log.info("attempts forgotten", count=forgotten, before=before.isoformat())
        return forgotten
