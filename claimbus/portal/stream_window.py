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
from claimbus.events.errors import ClaimbusError, InvalidTicketError
from claimbus.events.event import Event
from claimbus.events.stream import Ack, MalformedFrameError, Nack
from claimbus.portal.stream_frames import frame_of, is_by_reference
from claimbus.portal.stream_supply import Supply
from claimbus.portal.stream_verdicts import Verdicts
from claimstore.errors import StoreUnavailableError
from consumers.answer import Answer, one_line
from consumers.pace import Pace
from consumers.verdict import Outcome, Verdict
from consumers.work import Ready, Trial, Work

TICKETS_PER_PLACE: Final = 4
"""Tickets fetched for each place in a window: the one that is out, those that wait for their row or ack."""

BATCH: Final = 32
"""Deliveries that are redeemed together: while the reader is slow, each holds a body of up to 1 MiB."""

LIGHT: Final = 16 * 1024
"""Bytes of the longest body that is kept in memory until its delivery is answered."""

PAUSE: Final = 0.5
"""Seconds until something that was away is asked again."""

SET_BACK: Final = 1.0
"""Seconds until a delivery is handed back that our own code stumbled over: it would come again at once."""

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
        self._send_frame = send
        self._lost = lost
        self._pace = Pace(endpoint.rate_limit)
        self._unacked: set[Work] = set()
        self._backlog: deque[Work] = deque()
        self._unanswered: dict[int, _Sent] = {}
        self._number = 0
        self._flowing = False
        self._verdicts = Verdicts(
            endpoint,
            supply,
            tickets=tickets_for(size),
            done=self._done,
            again=self._again,
            spawn=self._spawn,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def unanswered(self) -> int:
        """How many deliveries the other side has."""
        return len(self._unanswered)

    @property
    def longest_unanswered(self) -> float:
        """For how many seconds an answer has been missing at most."""
        now = time.monotonic()
        return now - min((sent.at for sent in self._unanswered.values()), default=now)

    @property
    def longest_unacked(self) -> float:
        """For how many seconds a ticket has been in our hands at most."""
        now = time.monotonic()
        return now - min((work.arrived for work in self._unacked), default=now)

    def learn(self, endpoint: Endpoint) -> None:
        """Go by an endpoint's settings as they are now."""
        if endpoint.rate_limit != self._endpoint.rate_limit:
            self._pace = Pace(endpoint.rate_limit)
        self._endpoint = endpoint
        self._verdicts.learn(endpoint)

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

    def hand_back(self, older_than: float) -> None:
        """Hand back what has waited here to be sent for longer than so many seconds."""
        latest = time.monotonic() - older_than
        for work in [one for one in self._backlog if one.arrived < latest]:
            self._backlog.remove(work)
            self._unacked.discard(work)
            work.delivery.requeue()

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
        sent.work.attempts += 1
        self._verdicts.judge(
            sent.work, Trial(outcome, sent.started, sent.event, Answer(None, None, took, outcome.detail))
        )
        self._wanted.set()

    def flow(self) -> None:
        """Let deliveries go out, until `rest`."""
        if not self._flowing:
            self._flowing = True
            self._spawn(self._give())

    async def rest(self, *, within: float, wanted: Callable[[], bool]) -> None:
        """Let nothing more out; wait for answers while they are ``wanted``, and for what follows."""
        self._flowing = False
        deadline = time.monotonic() + within
        while self._verdicts.pending or (self._unanswered and wanted()):
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def stir(self) -> None:
        """Let `rest` look again at what is wanted."""
        self._moved.set()

    async def clear(self) -> None:
        """Drop everything; whoever has the queue hands it back."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.store_away = False
        for kept in (self._unacked, self._backlog, self._unanswered, self._verdicts.pending):
            kept.clear()

    async def _give(self) -> None:
        """Send what comes, batch by batch, as there are places for it."""
        try:
            while True:
                self._wanted.clear()
                while self._flowing and (batch := await self._next_batch()):
                    await self._give_out(batch)
                await self._wanted.wait()
        except GoneError:
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

    async def _wait_for_turn(self, work: Work) -> None:
        """Wait for the pause of a retry in place, and for the rate."""
        if self._endpoint.ordered and work.attempts == 0 and work.delivery.redelivered:
            await self._verdicts.resume(work)
        begin = max(work.not_before, self._pace.next())
        if (pause := begin - time.monotonic()) > 0:
            await asyncio.sleep(pause)

    async def _give_out(self, batch: list[Work]) -> None:
        """Send deliveries, but for those that something forbids, or a mistake of ours prevents."""
        found = await asyncio.gather(*map(self._prepare, batch), return_exceptions=True)
        for work, ready in zip(batch, found, strict=True):
            if work.delivery.void or not self._flowing:
                continue
            if isinstance(ready, Ready):
                await self._send_out(work, ready)
            elif _is_store_away(ready):
                self._backlog.append(work)
            elif isinstance(ready, Trial):
                self._verdicts.judge(work, ready)
            else:
                self._spawn(self._set_back(work, ready))
        self.store_away = any(map(_is_store_away, found))
        if self.store_away:
            await asyncio.sleep(PAUSE)

    async def _prepare(self, work: Work) -> Ready | Trial:
        ready = await self._supply.handler.prepare(self._endpoint, work)
        if isinstance(ready, Ready) and is_by_reference(self._endpoint, ready):
            try:
                await self._supply.handler.hand_out(self._endpoint, ready.claim)
            except StoreUnavailableError as away:
                return Trial(Outcome(Verdict.STORE_UNAVAILABLE, detail=str(away)), ready.started)
        return ready

    async def _send_out(self, work: Work, ready: Ready) -> None:
        event, by_reference = ready.rendered.event, is_by_reference(self._endpoint, ready)
        dataref = self._supply.claims_url + ready.claim.id if by_reference else None
        self._number += 1
        frame = frame_of(self._number, work, ready, dataref=dataref)
        kept = event if len(event.body) <= LIGHT else replace(event, body=b"")
        self._unanswered[self._number] = _Sent(work, kept, ready.started, time.monotonic())
        await self._send_frame(frame)

    async def _set_back(self, work: Work, mistake: BaseException) -> None:
        """Hand a delivery back, by a mistake that holds it up alone."""
        _log.error("a mistake of ours", message_id=work.ticket.message_id, next="requeue", exc_info=mistake)
        self._unacked.discard(work)
        await asyncio.sleep(SET_BACK)
        work.delivery.requeue()

    def _done(self, work: Work) -> None:
        self._unacked.discard(work)
        self._moved.set()

    def _again(self, work: Work) -> None:
        self._backlog.appendleft(work)
        self._wanted.set()
        self._moved.set()

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
