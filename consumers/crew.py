"""The workers that are there, as one of them knows it, and by that its share of each endpoint."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import ClaimbusError, UnavailableError
from claimstore.presence import Presence
from consumers.share import Share, share_of

LOOKS: Final = 3
"""Looks within the time after which a silent worker is taken for dead."""

ANNOUNCED_WITHIN: Final = 1.0
"""Seconds for telling the others that one comes or goes; they find out by themselves a little later."""

_log = structlog.get_logger("claimbus.consumers.crew")


class Crew:
    """One worker's view of all workers. Until it has entered, it has a share of nothing."""

    def __init__(
        self,
        presence: Presence,
        worker: str,
        *,
        able: Callable[[], bool],
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        """Begin without having entered.

        ``able`` tells whether it could deliver anything at the moment, ``announce`` has the others look.
        """
        self.workers = frozenset[str]()
        self._presence = presence
        self._worker = worker
        self._able = able
        self._announce = announce
        self._life = presence.life.total_seconds()
        self._believed_until = 0.0

    def share(self, endpoint: Endpoint) -> Share | None:
        """Return this worker's share of an endpoint; None when others work on it."""
        return share_of(endpoint, self._worker, self.workers)

    async def enter(self) -> None:
        """Begin to be there. Raises StoreUnavailableError."""
        await self.look()
        await self._tell()

    async def leave(self) -> None:
        """Be there no more. Should Redis be away, this worker is forgotten a little later."""
        with suppress(UnavailableError):
            await self._presence.leave(self._worker)
        await self._tell()

    async def watch(self, changed: Callable[[], None]) -> None:
        """Look now and then; call ``changed`` when another worker came or went."""
        while True:
            await asyncio.sleep(self._life / LOOKS)
            try:
                if await self.look():
                    changed()
            except UnavailableError as away:
                _log.warning("workers not seen", reason=str(away), next="try again")

    async def look(self) -> bool:
        """Say that this worker is there, and see who else is; tell whether that has changed.

        A worker that is not able to deliver says nothing, and others take over. Who cannot look keeps to the
        workers it knew, and for a ``life`` afterwards counts them as there: what kept it from looking may
        have silenced them, too. Raises StoreUnavailableError.
        """
        if not self._able():
            self._lose_sight()
            return False
        try:
            found = await self._presence.note(self._worker)
        except UnavailableError:
            self._lose_sight()
            raise
        if time.monotonic() < self._believed_until:
            found |= self.workers
        known, self.workers = self.workers, found
        return found != known

    def _lose_sight(self) -> None:
        self._believed_until = time.monotonic() + self._life

    async def _tell(self) -> None:
        with suppress(ClaimbusError, TimeoutError):
            async with asyncio.timeout(ANNOUNCED_WITHIN):
                await self._announce()
