"""What one stream has in its hands, from a delivery's arrival to its ack.

A delivery goes out as by webhook, but for the POST: `consumers.handler` prepares it, a frame takes it to the
other side, the answer is its verdict, and `consumers.disposition` records that before the ticket is acked.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from claimbus.broker.consumer import Delivery
from claimbus.database.endpoint import Endpoint
from claimbus.events import stream as protocol
from claimbus.events.errors import ClaimbusError, InvalidTicketError, UnavailableError
from claimbus.events.event import Event
from claimbus.events.stream import MAX_BODY, Ack, MalformedFrameError, Nack
from claimbus.portal.stream_supply import Supply
from claimstore.errors import StoreUnavailableError
from claimstore.progress import HeadDelivery
from consumers.answer import Answer, one_line
from consumers.pace import Pace
from consumers.retry import Retry, RetryPolicy, next_step
from consumers.verdict import Outcome, Verdict
from consumers.work import Ready, Trial, Work

TICKETS_PER_PLACE: Final = 4
"""Tickets fetched for each place in a window: the one that is out, those that wait for their row or ack."""

BATCH: Final = 16
"""Deliveries that are redeemed and sent together; to a slow reader, each holds a body of up to 1 MiB."""

LIGHT: Final = 16 * 1024
"""Bytes of the longest body that is kept in memory until its delivery is answered."""

PAUSE: Final = 0.5
"""Seconds until something that was away is asked again."""

_DELIVERED: Final = Outcome(Verdict.DELIVERED, answered=True)

_log = structlog.get_logger("claimbus.portal.stream")


class GoneError(ClaimbusError):
    """The other side is gone."""


@dataclass(slots=True)
class _Sent:
    """A frame that waits for its answer. ``started`` is in seconds since the epoch, ``at`` monotonic."""

    work: Work
    event: Event
    started: float
    at: float


def tickets_for(size: int) -> int:
    """Return how many tickets to fetch for a window; for one of a single place no more than that."""
    return size if size == 1 else size * TICKETS_PER_PLACE


class Window:
    """Deliveries of one endpoint, ``size`` at most of which are unanswered.

    ``send`` takes a frame and raises GoneError; ``lost`` is called when it did.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        supply: Supply,
        *,
        size: int,
        send: Callable[[bytes], Awaitable[None]],
        lost: Callable[[], None],
    ) -> None:
        self.store_away = False
        """Whether the claim store had no answer when it was asked last."""
        self._endpoint = endpoint
        self._supply = supply
        self._size = size
        self._tickets = tickets_for(size)
        self._send_frame = send
        self._lost = lost
        self._policy = RetryPolicy(ladder=supply.ladder, age_limit=endpoint.age_limit_s)
        self._pace = Pace(endpoint.rate_limit)
        self._unacked: set[Work] = set()
        self._backlog: deque[Work] = deque()
        self._unanswered: dict[int, _Sent] = {}
        self._settling: set[Work] = set()
        self._number = 0
        self._flowing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def flowing(self) -> bool:
        """Whether deliveries may go out."""
        return self._flowing

    @property
    def unanswered(self) -> int:
        """How many deliveries the other side has."""
        return len(self._unanswered)

    @property
    def oldest(self) -> float:
        """For how many seconds a delivery has been unacked at most."""
        now = time.monotonic()
        return now - min((work.arrived for work in self._unacked), default=now)

    @property
    def longest_unanswered(self) -> float:
        """For how many seconds an answer has been missing at most."""
        now = time.monotonic()
        return now - min((sent.at for sent in self._unanswered.values()), default=now)

    def hand_back(self, older_than: float) -> None:
        """Hand back what has waited here to be sent for longer than so many seconds."""
        latest = time.monotonic() - older_than
        for work in [one for one in self._backlog if one.arrived < latest]:
            self._backlog.remove(work)
            self._unacked.discard(work)
            work.delivery.requeue()

    def learn(self, endpoint: Endpoint) -> None:
        """Go by an endpoint's settings as they are now."""
        if endpoint.rate_limit != self._endpoint.rate_limit:
            self._pace = Pace(endpoint.rate_limit)
        self._policy = RetryPolicy(ladder=self._supply.ladder, age_limit=endpoint.age_limit_s)
        self._endpoint = endpoint

    def take(self, delivery: Delivery) -> None:
        """Take what came from the queue."""
        try:
            ticket = delivery.ticket()
        except InvalidTicketError as wrong:
            self._supply.disposition.refuse(delivery, self._endpoint, str(wrong))
            return
        work = Work(delivery, ticket, time.monotonic(), ticket.attempt)
        self._unacked.add(work)
        self._backlog.append(work)
        self._wanted.set()

    def voided(self, reason: str) -> None:
        """Forget what the broker took back; answers to it are heard and ignored."""
        _log.info("deliveries void", endpoint=self._endpoint.id, reason=reason)
        self._unacked = {work for work in self._unacked if not work.delivery.void}
        self._backlog = deque(work for work in self._backlog if not work.delivery.void)
        self._unanswered = {n: sent for n, sent in self._unanswered.items() if not sent.work.delivery.void}

    def answered(self, answer: Ack | Nack) -> None:
        """Take an answer. Raises MalformedFrameError for one to a delivery that was never made."""
        sent = self._unanswered.pop(answer.delivery, None)
        if sent is None:
            if answer.delivery > self._number:
                raise MalformedFrameError("delivery", "was never made")
            return
        outcome = _DELIVERED
        if isinstance(answer, Nack):
            outcome = Outcome(Verdict.FAILED, answered=True, detail=one_line(answer.reason))
        took = round((time.monotonic() - sent.at) * 1000)
        trial = Trial(outcome, sent.started, sent.event, Answer(None, None, took, outcome.detail))
        sent.work.attempts += 1
        self._settling.add(sent.work)
        if outcome is _DELIVERED and self._endpoint.latest_only:
            self._spawn(self._note_latest(sent.work, trial, sent.event))
        else:
            self._judge(sent.work, trial)
        self._wanted.set()

    def flow(self) -> None:
        """Let deliveries go out, until `settle`."""
        if not self._flowing:
            self._flowing = True
            self._spawn(self._give())

    async def settle(self, *, within: float, wanted: Callable[[], bool]) -> None:
        """Let nothing more out; wait for answers while they are ``wanted``, and for what follows."""
        self._flowing = False
        deadline = time.monotonic() + within
        while self._settling or (self._unanswered and wanted()):
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def stir(self) -> None:
        """Let `settle` look again at what is wanted."""
        self._moved.set()

    async def clear(self) -> None:
        """Drop everything; whoever has the queue hands it back."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.store_away = False
        for kept in (self._unacked, self._backlog, self._unanswered, self._settling):
            kept.clear()

    async def _give(self) -> None:
        """Send what comes, batch by batch, as there are places for it."""
        try:
            while True:
                self._wanted.clear()
                while self._flowing and (batch := await self._next_batch()):
                    await self._send(batch)
                await self._wanted.wait()
        except GoneError:
            self._flowing = False
            self._lost()

    async def _next_batch(self) -> list[Work]:
        """Take what can be sent now; where order or rate matter a single delivery, in its time."""
        await self._supply.disposition.ready()
        count = min(BATCH, len(self._backlog), self._size - len(self._unanswered))
        if count > 0 and (self._endpoint.ordered or self._endpoint.rate_limit):
            work = self._backlog.popleft()
            await self._wait_for_turn(work)
            return [work]
        return [self._backlog.popleft() for _ in range(count)]

    async def _send(self, batch: list[Work]) -> None:
        """Send deliveries, but for those that something forbids, or a mistake of ours."""
        found = await asyncio.gather(*map(self._prepare, batch), return_exceptions=True)
        frames = []
        for work, ready in zip(batch, found, strict=True):
            if work.delivery.void or not self._flowing:
                continue
            if isinstance(ready, Ready):
                frames.append(self._frame(work, ready))
            elif isinstance(ready, Trial):
                self._not_sent(work, ready)
            else:
                self._spawn(self._set_back(work, ready))
        for frame in frames:
            await self._send_frame(frame)
        self.store_away = any(map(_is_store_away, found))
        if self.store_away:
            await asyncio.sleep(PAUSE)

    async def _prepare(self, work: Work) -> Ready | Trial:
        ready = await self._supply.handler.prepare(self._endpoint, work)
        if isinstance(ready, Ready) and self._is_by_reference(ready):
            try:
                await self._supply.handler.hand_out(self._endpoint, ready.claim)
            except StoreUnavailableError as away:
                return Trial(Outcome(Verdict.STORE_UNAVAILABLE, detail=str(away)), ready.started)
        return ready

    async def _wait_for_turn(self, work: Work) -> None:
        """Wait for the pause of a retry in place, and for the rate."""
        if self._endpoint.ordered and work.attempts == 0 and work.delivery.redelivered:
            with suppress(UnavailableError):
                await self._resume(work)
        begin = max(work.not_before, self._pace.next())
        if begin and (pause := begin - time.monotonic()) > 0:
            await asyncio.sleep(pause)

    def _is_by_reference(self, ready: Ready) -> bool:
        too_large = ready.claim.chunks or len(ready.rendered.event.body) > MAX_BODY
        return bool(too_large) or self._endpoint.mode == "claim"

    def _frame(self, work: Work, ready: Ready) -> bytes:
        """Return the frame of a delivery, which is out from here on."""
        rendered, ticket, event = ready.rendered, work.ticket, ready.rendered.event
        by_reference = self._is_by_reference(ready)
        self._number += 1
        frame = protocol.Delivery(
            delivery=self._number,
            attempt=work.attempts + 1,
            message_id=ticket.message_id,
            event=rendered.attributes,
            body=None if by_reference else event.body,
            dataref=self._supply.claims_url + ready.claim.id if by_reference else None,
            replay=ticket.replay,
            deprecation=rendered.retirement.get("deprecation"),
            sunset=rendered.retirement.get("sunset"),
        ).encode()
        kept = event if len(event.body) <= LIGHT else replace(event, body=b"")
        self._unanswered[self._number] = _Sent(work, kept, ready.started, time.monotonic())
        return frame

    def _not_sent(self, work: Work, trial: Trial) -> None:
        if _is_store_away(trial):
            self._backlog.append(work)
        else:
            self._settling.add(work)
            self._judge(work, trial)

    async def _set_back(self, work: Work, mistake: BaseException) -> None:
        _log.error("a mistake of ours", message_id=work.ticket.message_id, next="requeue", exc_info=mistake)
        self._unacked.discard(work)
        await asyncio.sleep(1)
        work.delivery.requeue()

    def _judge(self, work: Work, trial: Trial) -> None:
        age = trial.started - work.ticket.age_begins
        step = next_step(trial.outcome, attempt=work.attempts, age=age, probe=False, policy=self._policy)
        if isinstance(step, Retry) and self._endpoint.ordered:
            self._spawn(self._retry_in_place(work, trial, step))
            return
        # When half of the tickets wait for their row, less comes than could be sent.
        urgent = 2 * len(self._settling) >= self._tickets
        self._supply.disposition.dispose(self._endpoint, work, trial, step, self._settled, urgent=urgent)

    def _settled(self, work: Work) -> None:
        self._unacked.discard(work)
        self._settling.discard(work)
        self._moved.set()

    async def _note_latest(self, work: Work, trial: Trial, event: Event) -> None:
        await self._supply.handler.delivered(self._endpoint, event)
        self._judge(work, trial)

    async def _retry_in_place(self, work: Work, trial: Trial, step: Retry) -> None:
        """Send an ordered endpoint's delivery again before any other; another stream may take over."""
        await self._supply.disposition.record(self._endpoint, work, trial, step)
        work.not_before = time.monotonic() + step.delay
        head = HeadDelivery(work.ticket.message_id, work.attempts, round((time.time() + step.delay) * 1000))
        with suppress(UnavailableError):
            await self._supply.progress.set(self._endpoint.id, head)
        self._settling.discard(work)
        self._moved.set()
        self._backlog.appendleft(work)
        self._wanted.set()

    async def _resume(self, work: Work) -> None:
        """Go on where the stream stopped that had this delivery before."""
        found = await self._supply.progress.get(self._endpoint.id)
        if found is not None and found.message_id == work.ticket.message_id:
            work.attempts = found.attempt
            work.not_before = time.monotonic() + found.next_at / 1000 - time.time()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("stream failed", endpoint=self._endpoint.id, exc_info=error)


def _is_store_away(found: object) -> bool:
    return isinstance(found, Trial) and found.outcome.verdict is Verdict.STORE_UNAVAILABLE
