"""One endpoint's lane through a worker: its own channel, client, limits and gate.

A lane decides *when* a delivery is tried. It shares nothing with another lane but the services in `Yard`, and
each wait on those is bounded or holds up this lane alone.
"""

import asyncio
import contextlib
import time
from typing import Final

import structlog

from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.topology import endpoint_queue
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import UnavailableError
from claimstore.holds import HoldState
from consumers.gate import Gate, Happening
from consumers.hands import UNACKED_AT_MOST, Hands
from consumers.head import Head
from consumers.pace import Pace
from consumers.retry import Disable, Keep, Retry, RetryPolicy, next_step
from consumers.setback import Setback
from consumers.share import Share
from consumers.tasks import Tasks
from consumers.verdict import Verdict
from consumers.work import Work
from consumers.yard import Yard

TICKETS_PER_REQUEST: Final = 8
"""Tickets fetched for each concurrent request: those being tried, and those whose row is being committed.

Also for those of other workers: RabbitMQ lets nobody change it while consuming, and they may stop.
"""

STORE_PAUSE: Final = 0.5
"""Seconds until a delivery is tried again that the claim store had no answer for."""

_log = structlog.get_logger("claimbus.consumers.lane")


class Lane:
    """Takes deliveries of one endpoint's queue and tries them as the endpoint's state allows."""

    def __init__(self, endpoint: Endpoint, generation: int, yard: Yard, share: Share) -> None:
        self.endpoint = endpoint
        self.generation = generation
        self.share = share
        self.served = False
        """Whether RabbitMQ has given it anything: for an ordered endpoint, whether its turn has come."""
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
        self._pace = Pace(share.pace)
        self._webhook = yard.webhook(endpoint)
        self._consumer = Consumer(yard.connections.first)
        tickets = 1 if endpoint.ordered else endpoint.concurrency * TICKETS_PER_REQUEST
        self._hands = Hands(yard.disposition, tickets=tickets)
        self._backlog = self._hands.backlog
        self._head = Head(yard.progress, yard.disposition)
        self._setback = Setback(endpoint)
        self._tasks = Tasks(self._ended)
        self._runners = 0
        self._starting = 0
        self._probing = False
        self._closing = False
        self._wake = asyncio.Event()
        self.tried = 0

    @property
    def held(self) -> bool:
        """Whether the endpoint is held, as far as this worker knows."""
        return self._gate.held

    @property
    def unacked(self) -> int:
        """How many deliveries are in this lane's hands, unacked."""
        return len(self._hands)

    async def open(self) -> None:
        """Begin to consume, unless closed already. Raises TopologyError (no such queue), UnavailableError."""
        if not self._closing:
            self._tasks.spawn(self._webhook.prepare())
        with contextlib.suppress(UnavailableError):
            await self._gate.look()
        await self._consume()
        if self._closing:
            await self._consumer.stop()

    async def linger(self, seconds: float) -> None:
        """Wait so long, or until the lane is closed."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            await self._sleep(left)

    async def close(self, *, grace: float) -> None:
        """Stop consuming, finish what is being tried within ``grace`` seconds, hand the rest back."""
        self._closing = True
        self._wake.set()
        self._consumer.pause()
        deadline = time.monotonic() + grace
        while self._hands.busy and (left := deadline - time.monotonic()) > 0:
            await self._sleep(left)
        await self._tasks.cancel()
        await self._consumer.stop()
        await self._webhook.aclose()

    def retune(self, share: Share) -> None:
        """Go by another share from the next delivery on; what is being tried goes on."""
        if share != self.share:
            self.share = share
            self._pace.change(share.pace)
            self._pump()

    async def hand_back_the_old(self) -> None:
        """Give everything back and begin anew when a ticket has been unacked for too long."""
        if self._hands.longest < UNACKED_AT_MOST or self._closing:
            return
        _log.info("unacked for long", action="hand back", endpoint=self.endpoint.id, count=self.unacked)
        await self._consumer.stop()
        self._voided("handed back")
        await self._consume()

    def learn(self, state: HoldState) -> None:
        """Take over what all workers know of the endpoint."""
        self._gate.learn(state)

    async def hear(self, what: Happening) -> None:
        """Heed what another worker announced."""
        await self._gate.hear(what)

    async def _consume(self) -> None:
        connection = await self._yard.connections.roomy()
        if self._closing:
            return
        self._consumer = Consumer(connection)
        await self._consumer.start(
            self.queue, prefetch=self._hands.tickets, on_delivery=self._take, on_void=self._voided
        )

    def _take(self, delivery: Delivery) -> None:
        self.served = True
        if self._hands.take(delivery, self.endpoint):
            self._wake.set()
            self._pump()

    def _voided(self, reason: str) -> None:
        """Forget what the broker took back. What is being tried right now ends without an ack."""
        _log.info("deliveries void", endpoint=self.endpoint.id, count=len(self._backlog), reason=reason)
        self._hands.drop_waiting()
        self._wake.set()  # what waits for its moment need not wait any more

    def _done(self, work: Work) -> None:
        self._hands.drop(work)
        if self._closing:
            self._wake.set()

    def _gate_moved(self) -> None:
        self._wake.set()
        if not self._gate.held:
            self._pump()
        elif not self._probing and not self._closing:
            self._probing = True
            self._tasks.spawn(self._probe())

    def _pump(self) -> None:
        """Have as many runners as the backlog asks for and the share allows."""
        most = self.share.concurrency
        while self._flowing and self._runners < most and self._starting < len(self._backlog):
            self._runners += 1
            self._starting += 1
            self._tasks.spawn(self._run())

    @property
    def _flowing(self) -> bool:
        return not (self._gate.held or self._closing)

    async def _run(self) -> None:
        self._starting -= 1
        try:
            while self._backlog and self._flowing and self._runners <= self.share.concurrency:
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
            self._tasks.spawn(self._setback.hand_back(work, mistake))
            self._done(work)  # closing the lane does not wait for it, and hands it back at once
            return False
        except BaseException:
            self._hands.drop(work)
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
        await self._gate.note(trial, probe=probe)
        if isinstance(step, Keep):
            if trial.outcome.verdict is not Verdict.STORE_UNAVAILABLE:
                self._backlog.append(work)
            else:
                self._backlog.appendleft(work)
                await asyncio.sleep(STORE_PAUSE)
        elif isinstance(step, Retry) and self.endpoint.ordered:
            await self._head.put_off(self.endpoint, work, trial, step)
            self._backlog.appendleft(work)
        else:
            # When half of the tickets wait for their rows, less comes than could be sent.
            urgent = 2 * (self._hands.busy - self._runners) > self._hands.tickets
            self._yard.disposition.dispose(self.endpoint, work, trial, step, self._done, urgent=urgent)
            if isinstance(step, Disable):
                self._yard.gone(self.endpoint, trial.outcome.detail)
        return trial.answer is not None or isinstance(step, Keep)

    async def _may_start(self, work: Work, *, probe: bool) -> bool:
        """Wait for the database, the pause of a retry in place, and the rate. False: not now."""
        await self._yard.disposition.ready()
        if self.endpoint.ordered:
            await self._head.resume(self.endpoint, work)
        if not probe:
            begin = max(work.not_before, self._pace.next())
            while self._flowing and not work.delivery.void and (pause := begin - time.monotonic()) > 0:
                await self._sleep(pause)
            if not self._flowing:
                self._backlog.appendleft(work)
                return False
        if work.delivery.void:
            self._hands.drop(work)
            return False
        return True

    async def _sleep(self, seconds: float | None) -> None:
        """Sleep until something happens to the lane, at most so long."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _ended(self, error: BaseException | None) -> None:
        if error:
            _log.error("lane failed", endpoint=self.endpoint.id, exc_info=error)
        self._wake.set()  # who closes the lane waits for what was being tried
        self._pump()
