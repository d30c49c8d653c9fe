"""One endpoint's lane through a worker: its own channel, client, limits and gate.

A lane decides *when* a delivery is tried. It shares nothing with another lane but the services in `Yard`, and
each wait on those is bounded or holds up this lane alone.
"""

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.topology import endpoint_queue
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import InvalidTicketError, UnavailableError
from claimstore.holds import HoldState
from claimstore.progress import HeadDelivery
from consumers.gate import Gate, Happening
from consumers.pace import Pace
from consumers.retry import Disable, Keep, Retry, RetryPolicy, next_step
from consumers.verdict import Verdict
from consumers.work import Trial, Work
from consumers.yard import Yard

UNACKED_AT_MOST: Final = 25 * 60.0
"""Seconds a ticket stays unacked; RabbitMQ closes the channel at 30 minutes (its ``consumer_timeout``)."""

TICKETS_PER_REQUEST: Final = 8
"""Tickets fetched for each concurrent request: those being tried, and those whose row is being committed."""

STORE_PAUSE: Final = 0.5
"""Seconds until a delivery is tried again that the claim store had no answer for."""

SHORTEST_SETBACK: Final = 1.0
LONGEST_SETBACK: Final = 60.0
"""Seconds until a delivery is handed back that our own code stumbled over: it would come again at once."""

_log = structlog.get_logger("claimbus.consumers.lane")


class Lane:
    """Takes the deliveries of one endpoint's queue and tries them as the endpoint's state allows."""

    def __init__(self, endpoint: Endpoint, generation: int, yard: Yard) -> None:
        self.endpoint = endpoint
        self.generation = generation
        self.queue = endpoint_queue(endpoint.id, generation)
        self._yard = yard
        self._gate = Gate(
            endpoint.id,
            yard.worker,
            yard.holds,
            timeout=endpoint.timeout_s,
            moved=self._gate_moved,
            news=lambda what, why: yard.news(endpoint, what, why),
        )
        self._policy = RetryPolicy(ladder=yard.ladder, age_limit=endpoint.age_limit_s)
        self._concurrency = 1 if endpoint.ordered else endpoint.concurrency
        self._pace = Pace(endpoint.pace)
        self._webhook = yard.webhook(endpoint)
        self._consumer = Consumer(yard.connection)
        self._backlog: deque[Work] = deque()
        self._unacked: set[Work] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runners = 0
        self._starting = 0
        self._probing = False
        self._closing = False
        self._setback = 0.0
        self._set_back_at = -math.inf
        self._wake = asyncio.Event()
        self.tried = 0

    @property
    def held(self) -> bool:
        """Whether the endpoint is held, as far as this worker knows."""
        return self._gate.held

    @property
    def unacked(self) -> int:
        """How many deliveries are in this lane's hands, unacked."""
        return len(self._unacked)

    async def open(self) -> None:
        """Begin to consume, unless closed already. Raises TopologyError (no such queue), UnavailableError."""
        with contextlib.suppress(UnavailableError):
            await self._gate.look()
        if not self._closing:
            await self._consume()
        if self._closing:
            await self._consumer.stop()

    async def close(self, *, grace: float) -> None:
        """Stop consuming, finish what is being tried within ``grace`` seconds, hand the rest back."""
        self._closing = True
        self._wake.set()
        self._consumer.pause()
        deadline = time.monotonic() + grace
        while len(self._unacked) > len(self._backlog) and (left := deadline - time.monotonic()) > 0:
            await self._sleep(left)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._consumer.stop()
        await self._webhook.aclose()

    async def hand_back_the_old(self) -> None:
        """Give everything back and begin anew when a ticket has been unacked for too long."""
        oldest = min((work.arrived for work in self._unacked), default=None)
        if oldest is None or time.monotonic() - oldest < UNACKED_AT_MOST or self._closing:
            return
        _log.info("unacked for long", action="hand back", endpoint=self.endpoint.id, count=self.unacked)
        await self._consumer.stop()
        self._voided("handed back")
        self._consumer = Consumer(self._yard.connection)
        await self._consume()

    def learn(self, state: HoldState) -> None:
        """Take over what all workers know of the endpoint."""
        self._gate.learn(state)

    async def hear(self, what: Happening) -> None:
        """Heed what another worker announced."""
        if what == "failing":
            self._gate.suspect()
            return
        with contextlib.suppress(UnavailableError):
            await self._gate.look()

    async def _consume(self) -> None:
        prefetch = 1 if self.endpoint.ordered else self._concurrency * TICKETS_PER_REQUEST
        await self._consumer.start(
            self.queue, prefetch=prefetch, on_delivery=self._take, on_void=self._voided
        )

    def _take(self, delivery: Delivery) -> None:
        try:
            ticket = delivery.ticket()
        except InvalidTicketError as wrong:
            self._yard.disposition.refuse(delivery, self.endpoint, str(wrong))
            return
        work = Work(delivery, ticket, time.monotonic(), ticket.attempt)
        self._unacked.add(work)
        self._backlog.append(work)
        self._wake.set()
        self._pump()

    def _voided(self, reason: str) -> None:
        """Forget what the broker took back. What is being tried right now ends without an ack."""
        _log.info("deliveries void", endpoint=self.endpoint.id, count=len(self._backlog), reason=reason)
        self._unacked.difference_update(self._backlog)
        self._backlog.clear()

    def _done(self, work: Work) -> None:
        self._unacked.discard(work)
        if self._closing:
            self._wake.set()

    def _gate_moved(self) -> None:
        self._wake.set()
        if not self._gate.held:
            self._pump()
        elif not self._probing and not self._closing:
            self._probing = True
            self._spawn(self._probe())

    def _pump(self) -> None:
        """Have as many runners as the backlog and the concurrency ask for."""
        while self._flowing and self._runners < self._concurrency and self._starting < len(self._backlog):
            self._runners += 1
            self._starting += 1
            self._spawn(self._run())

    @property
    def _flowing(self) -> bool:
        return not (self._gate.held or self._closing)

    async def _run(self) -> None:
        self._starting -= 1
        try:
            while self._backlog and self._flowing:
                await self._try(self._backlog.popleft(), probe=False)
        finally:
            self._runners -= 1

    async def _probe(self) -> None:
        """While held: one delivery at a time, each time another, whenever this worker gets the lease."""
        try:
            while self._gate.held and not self._closing:
                pause = self._gate.until_probe()
                if not self._backlog or pause > 0:
                    await self._sleep(pause if self._backlog else None)
                elif await self._gate.take_probe():
                    while self._backlog and not await self._try(self._backlog.popleft(), probe=True):
                        pass
        finally:
            self._probing = False

    async def _try(self, work: Work, *, probe: bool) -> bool:
        """Try a delivery; tell whether it was sent, or could have been but for the store.

        Whatever is raised is a mistake of ours, and holds up this delivery alone.
        """
        try:
            return await self._may_start(work, probe=probe) and await self._attempt(work, probe=probe)
        except Exception as mistake:  # noqa: BLE001 - logged
            self._set_back(work, mistake)
            return False
        except BaseException:
            self._unacked.discard(work)
            work.delivery.requeue()
            raise

    async def _attempt(self, work: Work, *, probe: bool) -> bool:
        """Make an attempt and see to what follows from it; tell what `_try` tells."""
        trial = await self._yard.handler.attempt(self.endpoint, self._webhook, work)
        self.tried += 1
        if trial.counts(probe=probe):
            work.attempts += 1
        step = next_step(
            trial.outcome,
            attempt=work.attempts,
            age=trial.started - work.ticket.age_begins,
            probe=probe,
            policy=self._policy,
        )
        await self._note(trial, probe=probe)
        if isinstance(step, Keep):
            await self._keep(work, trial)
        elif isinstance(step, Retry) and self.endpoint.ordered:
            await self._retry_in_place(work, trial, step)
        else:
            self._yard.disposition.dispose(self.endpoint, work, trial, step, self._done)
            if isinstance(step, Disable):
                self._yard.gone(self.endpoint, trial.outcome.detail)
        return trial.answer is not None or isinstance(step, Keep)

    async def _may_start(self, work: Work, *, probe: bool) -> bool:
        """Wait for the database, the pause of a retry in place, and the rate. False: not now."""
        await self._yard.disposition.ready()
        if self.endpoint.ordered and work.attempts == 0 and work.delivery.redelivered:
            with contextlib.suppress(UnavailableError):
                await self._resume(work)
        if not probe:
            begin = max(work.not_before, self._pace.next())
            while self._flowing and (pause := begin - time.monotonic()) > 0:
                await self._sleep(pause)
            if not self._flowing:
                self._backlog.appendleft(work)
                return False
        if work.delivery.void:
            self._unacked.discard(work)
            return False
        return True

    async def _note(self, trial: Trial, *, probe: bool) -> None:
        """Let the gate know how an attempt ended; without Redis it will learn later.

        Who refuses an event is there, and may take the next: a refusal holds nobody. Nor does it show that
        the next will be taken: a refused probe releases nobody, the hold waits for a success.
        """
        if trial.answer is None:
            return
        with contextlib.suppress(UnavailableError):
            if trial.outcome.verdict is Verdict.DELIVERED:
                await self._gate.succeeded()
            elif probe or trial.outcome.verdict is Verdict.FAILED:
                await self._gate.failed(trial.outcome.detail, probe=probe)

    async def _keep(self, work: Work, trial: Trial) -> None:
        if trial.outcome.verdict is Verdict.STORE_UNAVAILABLE:
            self._backlog.appendleft(work)
            await asyncio.sleep(STORE_PAUSE)
        else:
            self._backlog.append(work)

    async def _retry_in_place(self, work: Work, trial: Trial, step: Retry) -> None:
        """Try an ordered endpoint's delivery again before any other; another worker may take over."""
        await self._yard.disposition.record(self.endpoint, work, trial, step)
        work.not_before = time.monotonic() + step.delay
        due = round((time.time() + step.delay) * 1000)
        with contextlib.suppress(UnavailableError):
            await self._yard.progress.set(
                self.endpoint.id, HeadDelivery(work.ticket.message_id, work.attempts, due)
            )
        self._backlog.appendleft(work)

    async def _resume(self, work: Work) -> None:
        """Go on where the worker stopped that had this delivery before."""
        found = await self._yard.progress.get(self.endpoint.id)
        if found is not None and found.message_id == work.ticket.message_id:
            work.attempts = found.attempt
            work.not_before = time.monotonic() + found.next_at / 1000 - time.time()

    def _set_back(self, work: Work, mistake: Exception) -> None:
        """Hand a delivery back after a pause, which doubles from round to round while mistakes go on.

        It counts as done with: closing the lane does not wait for it, and hands it back at once.
        """
        now = time.monotonic()
        if (calm := now - self._set_back_at) > self._setback:
            lasting = calm <= 2 * LONGEST_SETBACK
            self._setback = min(2 * self._setback, LONGEST_SETBACK) if lasting else SHORTEST_SETBACK
            self._set_back_at = now
        pause = self._setback * random.uniform(1, 1.5)  # noqa: S311 - jitter, no secret
        _log.error(
            "delivery failed by a mistake of ours",
            next=f"requeue in {pause:.1f} s",
            endpoint=self.endpoint.id,
            message_id=work.ticket.message_id,
            exc_info=mistake,
        )
        self._done(work)

        async def hand_back() -> None:
            await asyncio.sleep(pause)
            work.delivery.requeue()

        if not self._closing:
            self._spawn(hand_back())

    async def _sleep(self, seconds: float | None) -> None:
        """Sleep until something happens to the lane, at most so long."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("lane failed", endpoint=self.endpoint.id, exc_info=error)
        self._pump()
