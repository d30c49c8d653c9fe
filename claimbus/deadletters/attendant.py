"""The attendant: everything that must always be done about dead letters, side by side."""

import asyncio
from typing import Final, Protocol

import structlog

RESTART_AFTER: Final = 5.0
"""Seconds until a part that failed is started anew."""

_log = structlog.get_logger("claimbus.deadletters.attendant")


class Part(Protocol):
    """Something that goes on until it is cancelled, and then leaves nothing half done."""

    async def run(self) -> None:
        """Go on until cancelled."""


class Attendant:
    """Runs its parts; any number of processes may each run one."""

    def __init__(
        self,
        *,
        runner: Part,
        recorder: Part,
        retention: Part,
        measuring: Part,
        restart_after: float = RESTART_AFTER,
    ) -> None:
        self._parts = {
            "runner": runner,
            "recorder": recorder,
            "retention": retention,
            "measuring": measuring,
        }
        self._restart_after = restart_after
        self._ending = False

    async def run(self, stop: asyncio.Event) -> None:
        """Attend until ``stop``; then end one part after the other: no more is sent, then none recorded."""
        running = [
            asyncio.create_task(self._keep(name, part), name=name) for name, part in self._parts.items()
        ]
        try:
            await stop.wait()
        finally:
            self._ending = True
            for part in running:
                part.cancel()
                await asyncio.wait([part])

    async def _keep(self, name: str, part: Part) -> None:
        """Run a part, and start it anew whenever it fails."""
        while True:
            try:
                await part.run()
            except Exception:  # noqa: BLE001 - the other parts must not suffer from it
                _log.exception("part failed", part=name)
            else:
                _log.error("part ended", part=name)
            if self._ending:  # it failed at its end, and its cancellation is forgotten
                return
            await asyncio.sleep(self._restart_after)
