"""Record, then ack: attempts go to the database in batches, off the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from claimbus.database import outcomes
from claimbus.database.attempts import Attempt
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError

MAX_BATCH: Final = 1000
GATHERING: Final = 0.1
"""Seconds in which a batch gathers; an ack waits so long, and for one commit.

With 0.02 a delivery took a tenth more CPU: fewer acks go together, and RabbitMQ writes a log entry for each.
"""

SLOW: Final = 2.0
"""Seconds that a write may take before no further attempt is made."""

_log = structlog.get_logger("claimbus.consumers.recorder")


class Recorder:
    """Writes attempts and tells each one's owner once it is in the database.

    While a write fails or takes long, `ready` stops whoever is about to make an attempt. A batch that failed
    is written again until it succeeds; writing a row twice leaves one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: deque[tuple[Attempt, Callable[[], None]]] = deque()
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()
        self._available = asyncio.Event()
        self._available.set()
        self._closing = False

    @property
    def available(self) -> bool:
        """Tell whether the last write succeeded, and the one under way does not take long."""
        return self._available.is_set()

    async def ready(self) -> None:
        """Wait until the database takes rows."""
        if not self._available.is_set():
            await self._available.wait()

    def record(self, attempt: Attempt, recorded: Callable[[], None], *, urgent: bool = False) -> None:
        """Write this attempt soon; ``recorded`` is called in this loop once it is committed.

        An ``urgent`` one, for which an ordered endpoint waits, is written without gathering others.
        """
        self._rows.append((attempt, recorded))
        self._arrived.set()
        if urgent:
            self._urgent.set()

    def close(self) -> None:
        """Let `run` end once everything recorded so far is written."""
        self._closing = True
        self._arrived.set()
        self._urgent.set()

    async def run(self) -> None:
        """Write until closed. A row that is not written when this is cancelled stays unacked."""
        while not (self._closing and not self._rows):
            await self._arrived.wait()
            self._arrived.clear()
            while self._rows:
                if len(self._rows) < MAX_BATCH and not self._closing:
                    await self._gather()
                batch = [self._rows.popleft() for _ in range(min(len(self._rows), MAX_BATCH))]
                await self._write(batch)

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERING):
                await self._urgent.wait()
        self._urgent.clear()

    async def _write(self, batch: list[tuple[Attempt, Callable[[], None]]]) -> None:
        try:
            await self._commit([attempt for attempt, _ in batch])
        except Exception as refused:  # noqa: BLE001 - whatever one row did must not stop the other rows
            if len(batch) == 1:
                _log.exception("attempt refused", message_id=batch[0][0].message_id, next="stays unacked")
                return
            _log.warning("batch refused", rows=len(batch), reason=str(refused), next="row by row")
            for one in batch:
                await self._write([one])
        else:
            for attempt, recorded in batch:
                try:
                    recorded()
                except Exception:  # noqa: BLE001 - one delivery's mistake must not end the recording of all
                    _log.exception("recorded, but not carried on", message_id=attempt.message_id)

    async def _commit(self, rows: list[Attempt]) -> None:
        pause = 0.1
        while True:
            slow = asyncio.get_running_loop().call_later(SLOW, self._available.clear)
            try:
                await self._database.run(lambda connection: outcomes.record(connection, rows))
            except UnavailableError as away:
                self._available.clear()
                _log.warning("database away", action="attempts wait", rows=len(rows), error=str(away))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                self._available.set()
                return
            finally:
                slow.cancel()
