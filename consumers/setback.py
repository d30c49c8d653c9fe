"""A delivery that our own code stumbled over: handed back at once, it would come again at once."""

import asyncio
import math
import random
import time
from typing import Final

import structlog

from claimbus.database.endpoint import Endpoint
from consumers.work import Work

SHORTEST: Final = 1.0
LONGEST: Final = 60.0
"""Seconds until it is handed back."""

_log = structlog.get_logger("claimbus.consumers.setback")


class Setback:
    """Hands back after pauses that double from round to round while mistakes go on."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pause = 0.0
        self._at = -math.inf

    async def hand_back(self, work: Work, mistake: BaseException) -> None:
        """Tell of a mistake, and hand the delivery back in time."""
        pause = self._next_pause()
        _log.error(
            "delivery failed by a mistake of ours",
            next=f"requeue in {pause:.1f} s",
            endpoint=self._endpoint.id,
            message_id=work.ticket.message_id,
            exc_info=mistake,
        )
        await asyncio.sleep(pause)
        work.delivery.requeue()

    def _next_pause(self) -> float:
        now = time.monotonic()
        if (calm := now - self._at) > self._pause:
            self._pause = min(2 * self._pause, LONGEST) if calm <= 2 * LONGEST else SHORTEST
            self._at = now
        return self._pause * random.uniform(1, 1.5)  # noqa: S311 - jitter, no secret
