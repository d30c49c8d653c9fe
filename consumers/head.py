"""What an ordered endpoint's delivery went through before, for whoever has it next."""

import time
from contextlib import suppress

from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import UnavailableError
from claimstore.progress import HeadDelivery, Progress
from consumers.disposition import Disposition
from consumers.retry import Retry
from consumers.work import Trial, Work


class Head:
    """The delivery at the head of an ordered endpoint's queue, which is tried again before any other."""

    def __init__(self, progress: Progress, disposition: Disposition) -> None:
        self._progress = progress
        self._disposition = disposition

    async def resume(self, endpoint: Endpoint, work: Work) -> None:
        """Go on where the worker or stream stopped that had this delivery before."""
        if work.attempts or not work.delivery.redelivered:
            return
        with suppress(UnavailableError):
            found = await self._progress.get(endpoint.id)
            if found is not None and found.message_id == work.ticket.message_id:
                work.attempts = found.attempt
                work.not_before = time.monotonic() + found.next_at / 1000 - time.time()

    async def put_off(self, endpoint: Endpoint, work: Work, trial: Trial, step: Retry) -> None:
        """Record an attempt, and note when the next one is due; another worker or stream may take over."""
        await self._disposition.record(endpoint, work, trial, step)
        work.not_before = time.monotonic() + step.delay
        due = round((time.time() + step.delay) * 1000)
        with suppress(UnavailableError):
            await self._progress.set(endpoint.id, HeadDelivery(work.ticket.message_id, work.attempts, due))
