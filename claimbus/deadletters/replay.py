"""Replays are run by whichever processes have a runner; each job by one at a time, by its lease."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from claimbus.broker.publisher import Publisher
from claimbus.database import replays
from claimbus.database.engine import Database
from claimbus.database.replays import Replay
from claimbus.deadletters.course import LEASE, Course, rest
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.sending import Sending
from claimbus.events.errors import UnavailableError
from claimstore.holds import Holds
from claimstore.store import ClaimStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOOK_EVERY: Final = 1.0
"""Seconds between looks for jobs."""

GRACE: Final = 10.0
"""Seconds that a batch may take to be confirmed once the runner is to stop."""

_log = structlog.get_logger("claimbus.deadletters.replay")


class Runner:
    """Runs the jobs whose lease it gets, side by side."""

    def __init__(
        self,
        database: Database,
        store: ClaimStore,
        holds: Holds,
        publisher: Publisher,
        *,
        name: str,
        claim_life: timedelta,
        metrics: LettersMetrics,
    ) -> None:
        """Wire a runner; nothing happens before `run`. No other runner has its ``name``."""
        self._database = database
        self._sending = Sending(database, store, holds, publisher, claim_life=claim_life)
        self._name = name
        self._metrics = metrics
        self._stop = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look for jobs and run them, until cancelled; then let the batches on their way be confirmed."""
        self._stop.clear()
        try:
            while True:
                try:
                    await self._look()
                except UnavailableError as away:
                    _log.warning("no look for replays", reason=str(away), next="try again")
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._stop.set()
            await self._finish()

    async def _look(self) -> None:
        while await self._database.read(self._any_to_take) and (job := await self._database.run(self._take)):
            self._running[job.id] = asyncio.create_task(self._carry(job), name=f"replay {job.id}")

    def _any_to_take(self, sql: "Connection") -> bool:
        return replays.any_to_take(sql, self._name, datetime.now(UTC), besides=self._running)

    def _take(self, sql: "Connection") -> Replay | None:
        return replays.take(sql, self._name, datetime.now(UTC), lease_s=LEASE, besides=self._running)

    async def _carry(self, job: Replay) -> None:
        course = Course(
            job,
            runner=self._name,
            database=self._database,
            sending=self._sending,
            metrics=self._metrics,
            stop=self._stop,
        )
        try:
            await course.run()
        except Exception:  # noqa: BLE001 - the other jobs go on
            _log.exception("replay failed", replay=job.id, next=f"try again in {LEASE:g} s")
            await rest(self._stop, LEASE)
        finally:
            del self._running[job.id]

    async def _finish(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
