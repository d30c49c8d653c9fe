"""What one stream has in its hands, from a delivery's arrival to its ack.

A delivery goes out as by webhook, but for the POST: `consumers.handler` prepares it, a frame takes it to the
other side, the answer is its verdict, and `consumers.disposition` records that before the ticket is acked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from claimbus.broker.consumer import Delivery
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import ClaimbusError
from claimbus.events.stream import Ack, MalformedFrameError, Nack
from claimbus.portal.stream_frames import Sent, frame_of, is_by_reference
from claimbus.portal.stream_supply import Supply
from claimbus.portal.stream_verdicts import Verdicts
from claimstore.errors import StoreUnavailableError
from consumers.answer import Answer, one_line
from consumers.hands import Hands
from consumers.pace import Pace
from consumers.setback import Setback
from consumers.tasks import Tasks
from consumers.verdict import DELIVERED, Outcome, Verdict
from consumers.work import Ready, Trial, Work

TICKETS_PER_PLACE: Final = 4
"""Tickets fetched for each place in a window: the one that is out, those that wait for their row or ack."""

BATCH: Final = 32
"""Deliveries that are redeemed together: while the reader is slow, each holds a body of up to 1 MiB."""

LIGHT: Final = 16 * 1024
"""Bytes of the longest body that is kept in memory until its delivery is answered."""

PAUSE: Final = 0.5
"""Seconds until something that was away is asked again."""

_log = structlog.get_logger("claimbus.portal.stream")


class GoneError(ClaimbusError):
    """The other side is gone."""


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
        self.hands = Hands(supply.disposition, tickets=tickets_for(size))
        self._backlog = self.hands.backlog
        self._setback = Setback(endpoint)
        self._unanswered: dict[int, Sent] = {}
        self._number = 0
        self._flowing = False
        self._tasks = Tasks(self._ended)
        self._verdicts = Verdicts(
            endpoint,
            supply,
            tickets=self.hands.tickets,
            done=self._done,
            again=self._again,
            spawn=self._tasks.spawn,
        )
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

    def learn(self, endpoint: Endpoint) -> None:
        """Go by an endpoint's settings as they are now."""
        if endpoint.rate_limit != self._endpoint.rate_limit:
            self._pace = Pace(endpoint.rate_limit)
        self._endpoint = endpoint
        self._verdicts.learn(endpoint)

    def take(self, delivery: Delivery) -> None:
        """Take what came from the queue."""
        if self.hands.take(delivery, self._endpoint):
            self._wanted.set()

    def voided(self, reason: str) -> None:
        """Forget what the broker took back; answers to it are heard and ignored."""
        _log.info("deliveries void", endpoint=self._endpoint.id, reason=reason)
        self.hands.drop_void()
        self._unanswered = {n: sent for n, sent in self._unanswered.items() if not sent.work.delivery.void}

    def answered(self, answer: Ack | Nack) -> None:
        """Take an answer. Raises MalformedFrameError for one to a delivery that was never made."""
        sent = self._unanswered.pop(answer.delivery, None)
        if sent is None:
            if answer.delivery > self._number:
                raise MalformedFrameError("delivery", "was never made")
            return
        outcome = DELIVERED
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
            self._tasks.spawn(self._give())

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
        await self._tasks.cancel()
        self.store_away = False
        for kept in (self.hands, self._unanswered, self._verdicts.pending):
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
        if self._endpoint.ordered:
            await self._supply.head.resume(self._endpoint, work)
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
                try:
                    frame = self._frame(work, ready)
                except Exception as mistake:  # noqa: BLE001 - logged; it holds up this delivery alone
                    self._set_back(work, mistake)
                else:
                    await self._send_frame(frame)
            elif _is_store_away(ready):
                self._backlog.append(work)
            elif isinstance(ready, Trial):
                self._verdicts.judge(work, ready)
            else:
                self._set_back(work, ready)
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

    def _frame(self, work: Work, ready: Ready) -> bytes:
        """Return the frame of a delivery, which waits for its answer from now on."""
        event, by_reference = ready.rendered.event, is_by_reference(self._endpoint, ready)
        dataref = self._supply.claims_url + ready.claim.id if by_reference else None
        self._number += 1
        frame = frame_of(self._number, work, ready, dataref=dataref)
        kept = event if len(event.body) <= LIGHT else replace(event, body=b"")
        self._unanswered[self._number] = Sent(work, kept, ready.started, time.monotonic())
        return frame

    def _set_back(self, work: Work, mistake: BaseException) -> None:
        self.hands.drop(work)
        self._tasks.spawn(self._setback.hand_back(work, mistake))

    def _done(self, work: Work) -> None:
        self.hands.drop(work)
        self._moved.set()

    def _again(self, work: Work) -> None:
        self._backlog.appendleft(work)
        self._wanted.set()
        self._moved.set()

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            _log.error("stream failed", endpoint=self._endpoint.id, exc_info=error)


def _is_store_away(found: object) -> bool:
    return isinstance(found, Trial) and found.outcome.verdict is Verdict.STORE_UNAVAILABLE
