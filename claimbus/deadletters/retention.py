"""Forgetting old letters, the bodies first: a little at a time, by one process at a time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from claimbus.database import kept, letters, recoveries, replays
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from claimstore.leases import Leases

if TYPE_CHECKING:
    from sqlalchemy import Connection

SWEEP_EVERY: Final = 600.0
"""Seconds between two sweeps."""

LEASE: Final = "letters-retention"

_log = structlog.get_logger("claimbus.deadletters.retention")


class Swept(NamedTuple):
    """How many bodies, letters, items of replays that have ended, and recoveries a sweep forgot."""

    bodies: int
    letters: int
    items: int
    recoveries: int = 0


class Retention:
    """Keeps the bodies of the last ``letters_kept`` and the rows of the last ``rows_kept``, no older ones."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        *,
        name: str,
        letters_kept: timedelta,
        rows_kept: timedelta,
        sweep_every: float = SWEEP_EVERY,
    ) -> None:
        """Wire it; ``name`` is the process's, no other has it."""
        self._database = database
        self._leases = leases
        self._name = name
        self._letters_kept = letters_kept
        self._rows_kept = rows_kept
        self._sweep_every = sweep_every

    async def run(self) -> None:
        """Sweep now and then, if no other process does, until cancelled."""
        while True:
            try:
                if await self._leases.take(LEASE, self._name, seconds=2 * self._sweep_every):
                    await self.sweep()
            except UnavailableError as away:
                _log.warning("letters not swept", reason=str(away), next="try again")
            await asyncio.sleep(self._sweep_every)

    async def sweep(self) -> Swept:
        """Forget what is too old, in transactions short enough for letters to be recorded between."""
        now = datetime.now(UTC)
        bodies_before, rows_before = now - self._letters_kept, now - self._rows_kept
        swept = Swept(
            bodies=await self._all(lambda sql: kept.sweep(sql, bodies_before)),
            letters=await self._all(lambda sql: letters.forget(sql, rows_before)),
            items=await self._all(lambda sql: replays.forget(sql, rows_before)),
            recoveries=await self._all(lambda sql: recoveries.forget(sql, rows_before)),
        )
        if any(swept):
            _log.info(
                "letters forgotten",
                **swept._asdict(),
                bodies_before=bodies_before.isoformat(),
                rows_before=rows_before.isoformat(),
            )
        return swept

    async def _all(self, some: Callable[["Connection"], int]) -> int:
        """Repeat until nothing is left to forget; return how much it was."""
        forgotten = 0
        while count := await self._database.run(some):
            forgotten += count
        return forgotten
