"""Each redemption becomes a row of the audit, soon, without the answer waiting for it."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from claimbus.database import redemptions
from claimbus.database.engine import Database
from claimbus.database.redemptions import Redemption
from claimbus.events.errors import UnavailableError

GATHERING: Final = 0.2
"""Seconds in which rows gather: what a killed portal may leave unwritten."""

WAITING: Final = 10_000
"""Rows that may wait for a database that is away. Beyond that nobody is given a body any more."""

RETRY_AFTER: Final = 1.0

_log = structlog.get_logger("claimbus.portal.redemptions")


class Redemptions:
    """Writes redemptions together, in a thread, in the order in which they were made."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Redemption] = []
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()

    def add(self, redemption: Redemption) -> None:
        """Write this soon. Raises UnavailableError when too many wait already: then give no body."""
        if len(self._waiting) >= WAITING:
            raise UnavailableError("the audit cannot be written")
        self._waiting.append(redemption)
        self._arrived.set()

    def close(self) -> None:
        """Let `run` end once it has written what waits, or could not."""
        self._closing.set()
        self._arrived.set()

    async def run(self) -> None:
        """Write until closed."""
        while not self._closing.is_set() or self._waiting:
            await self._arrived.wait()
            await self._pause(GATHERING)
            self._arrived.clear()
            try:
                await self._write()
            except UnavailableError as away:
                _log.warning("redemptions wait", rows=len(self._waiting), reason=str(away))
                if self._closing.is_set():
                    return
                self._arrived.set()
                await self._pause(RETRY_AFTER)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _write(self) -> None:
        batch = self._waiting[:]
        await self._database.run(lambda sql: redemptions.record(sql, batch))
        del self._waiting[: len(batch)]
