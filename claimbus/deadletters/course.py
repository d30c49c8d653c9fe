"""The course of one replay: stage by stage, batch by batch, from its rows to RabbitMQ and back.

An item is marked ``sending`` before it is sent and ``sent`` once RabbitMQ has confirmed it. Whoever goes on
after a crash finds at most a batch of which it is unsure.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from claimbus.database import replays
from claimbus.database.engine import Database
from claimbus.database.replays import Item, Replay
from claimbus.deadletters import canary
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.pacing import Pacing
from claimbus.deadletters.sending import Sending, Sent
from claimbus.events.errors import UnavailableError

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH: Final = 500
"""Items that are claimed, sent and marked together."""

LEASE: Final = 15.0
"""Seconds for which a runner has a job unless it renews its lease."""

RENEW_EVERY: Final = 1.0
"""Seconds between two renewals while a batch is on its way."""

GATHER: Final = 0.2
"""Seconds in which items that have a rate gather to a batch."""

SHORTEST: Final = 0.25
LONGEST: Final = 5.0
"""Seconds between looks at what has not arrived yet, and between tries while a server is away."""

_log = structlog.get_logger("claimbus.deadletters.course")


class _Turn(NamedTuple):
    """The items to send next, and how many seconds to wait then; None: longer each time."""

    items: Sequence[Item] = ()
    wait: float | None = None


class Course:
    """A job, as long as this runner has it."""

    def __init__(
        self,
        job: Replay,
        *,
        runner: str,
        database: Database,
        sending: Sending,
        metrics: LettersMetrics,
        stop: asyncio.Event,
    ) -> None:
        """Take a job up whose lease ``runner`` has; ``stop`` ends it after the batch that is being sent."""
        self._id = job.id
        self._runner = runner
        self._database = database
        self._sending = sending
        self._metrics = metrics
        self._stop = stop
        self._pacing = None if job.rate is None else Pacing(job.rate)
        self._unmarked = Sent()
        """What was sent or skipped, and is not in the database yet."""

    async def run(self) -> None:
        """Go on until the job has ended, is paused, or is another's. Servers that are away are waited for."""
        pause = SHORTEST
        try:
            while not self._stop.is_set():
                wait = None
                try:
                    turn = await self._database.run(self._turn)
                    self._unmarked = Sent()
                    if turn is None:
                        _log.info("replay left", replay=self._id)
                        return
                    await self._send(turn.items)
                    wait = turn.wait
                except UnavailableError as away:
                    _log.warning("replay waits", replay=self._id, reason=str(away), next="try again")
                if wait is None:
                    wait, pause = pause, min(1.5 * pause, LONGEST)
                else:
                    pause = SHORTEST
                await rest(self._stop, wait)
        finally:
            with suppress(UnavailableError):
                await self._database.run(self._leave)

    def _turn(self, sql: "Connection") -> _Turn | None:
        """Mark what was sent, and find what is next; None when nothing is left to do here."""
        self._mark(sql)
        job = self._renew(sql)
        if job is None:
            return None
        if job.state == "running" and (bad := canary.trouble(sql, job)):
            job = replays.pause_by_itself(sql, job.id, f"{bad}; {_choices(job)}")
        if job.state == "running" and (turn := self._next(sql, job)):
            return turn
        job = replays.settle_state(sql, job.id)
        return _Turn() if job.state in ("running", "sent") else None

    def _next(self, sql: "Connection", job: Replay) -> _Turn | None:
        """Claim what may be sent now; None when all of this stage is out, and not known to have arrived."""
        limit, wait = (BATCH, 0.0) if self._pacing is None else self._pace(sql, job, self._pacing)
        items = replays.claim_items(sql, job.id, limit, below=job.stage) if limit else []
        if items or not limit:
            return _Turn(items, wait)
        if job.stage < job.total and canary.passed(sql, job):
            replays.advance(sql, job.id, job.next_stage)
            return _Turn(wait=0.0)
        return None

    def _pace(self, sql: "Connection", job: Replay, pacing: Pacing) -> tuple[int, float]:
        """Return how many items may be sent now, and how many seconds to wait then."""
        unsent = replays.items(sql, job.id, ("sending", "waiting"), limit=BATCH).rows
        due = [item.letter.endpoint_id for item in unsent if item.position < job.stage]
        count = pacing.take(due)
        if count == len(due):
            return BATCH, 0.0
        return count, min(max(GATHER, pacing.wait(due[count])), RENEW_EVERY)

    async def _send(self, items: Sequence[Item]) -> None:
        """Send items, and keep the lease meanwhile. Raises UnavailableError unless all are answered for."""
        if not items:
            return
        sending = asyncio.create_task(self._sending.send(items))
        try:
            while not sending.done():
                await asyncio.wait([sending], timeout=RENEW_EVERY)
                if not (sending.done() or await self._is_ours()):
                    return
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        self._unmarked = sending.result()
        self._metrics.replayed.inc(len(self._unmarked.confirmed))
        unknown = len(items) - len(self._unmarked.confirmed) - len(self._unmarked.skipped)
        if unknown:
            raise UnavailableError(f"{unknown} letters are not confirmed")

    async def _is_ours(self) -> bool:
        try:
            return await self._database.run(self._renew) is not None
        except UnavailableError:
            return True  # nobody else can tell either

    def _renew(self, sql: "Connection") -> Replay | None:
        return replays.renew(sql, self._id, self._runner, datetime.now(UTC), LEASE)

    def _mark(self, sql: "Connection") -> None:
        replays.mark_skipped(sql, self._id, self._unmarked.skipped)
        replays.mark_sent(sql, self._id, self._unmarked.confirmed)

    def _leave(self, sql: "Connection") -> None:
        self._mark(sql)
        replays.release(sql, self._id, self._runner)


def _choices(job: Replay) -> str:
    return f"'claimbus replays resume {job.id}' goes on, 'claimbus replays cancel {job.id}' gives up"


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait so many seconds, or until ``stop``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
