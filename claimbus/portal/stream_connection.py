"""One open stream: when its queue is consumed, and how it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog

from claimbus.broker.errors import TopologyError
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import UnavailableError
from claimbus.events.stream import CloseCode, MalformedFrameError, decode_answer
from claimbus.portal.stream_source import Source
from claimbus.portal.stream_supply import Supply
from claimbus.portal.stream_window import PAUSE, Window, tickets_for
from consumers.hands import UNACKED_AT_MOST

UNANSWERED_AT_MOST: Final = 20 * 60.0
"""Seconds for an answer; then the connection is closed, and everything goes back."""

WAITING_AT_MOST: Final = 5 * 60.0
"""Seconds a ticket waits for its place in the window; then it goes back, to whoever is faster."""

PATIENCE: Final = 30.0
"""Seconds for which a stream stays open while something behind the portal is away."""

ANSWERS_WITHIN: Final = 5.0
"""Seconds for answers to what is out, and for what follows from them, before the rest goes back."""

_HEARD_OUT: Final = frozenset({CloseCode.STOPPING, CloseCode.NO_STREAM, CloseCode.DISABLED})
"""Codes before which answers to what is out are waited for."""

_log = structlog.get_logger("claimbus.portal.stream")


class Close(NamedTuple):
    """How a stream is to be closed."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side: ``send`` raises GoneError once it is gone, and ``receive`` returns None then."""

    send: Callable[[bytes], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes | str | None]]


class Stream:
    """Gives the deliveries of one endpoint to one connection, ``window`` unanswered at most."""

    def __init__(self, endpoint: Endpoint, peer: Peer, supply: Supply, *, window: int) -> None:
        self.endpoint = endpoint
        self._peer = peer
        self._recorder = supply.recorder
        self._window = Window(endpoint, supply, size=window, send=peer.send, lost=self._lost)
        self._source = Source(
            supply.connections,
            supply.provision,
            prefetch=tickets_for(window),
            on_delivery=self._window.take,
            on_void=self._window.voided,
        )
        self._reading: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[Close | None] = asyncio.get_running_loop().create_future()
        self._turned = asyncio.Event()
        self._reopen = self._closing = False
        self._went_well = time.monotonic()

    @property
    def unanswered(self) -> int:
        """How many deliveries the other side has."""
        return self._window.unanswered

    async def run(self, *, grace: float) -> Close | None:
        """Serve until either side ends it; return how to close it, None when the other side is gone.

        By then everything unacked is back in the queue. ``grace``: seconds for answers when the portal stops.
        """
        self._reading = asyncio.create_task(self._read())
        flowing = asyncio.create_task(self._flow())
        ends: list[asyncio.Future[Any]] = [self._reading, flowing, self._ended]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            close = self._ended.result() if self._ended.done() else None
            self._closing = True
            self._turned.set()
            await asyncio.wait([flowing])  # not cancelled: opening a channel must not be broken off
            code = None if close is None else close.code
            await self._halt(
                within=grace if code == CloseCode.STOPPING else ANSWERS_WITHIN, answers=code in _HEARD_OUT
            )
        finally:
            self._reading.cancel()
            flowing.cancel()
            await asyncio.wait([self._reading, flowing])
            await self._halt(within=0, answers=False)
        for task in (self._reading, flowing):
            if not task.cancelled():
                task.result()
        return close

    def end(self, code: int, reason: str = "") -> None:
        """Let `run` end in its own time; who says first why is heard."""
        if not self._ended.done():
            self._ended.set_result(Close(code, reason or CloseCode(code).meaning))

    def learn(self, endpoint: Endpoint) -> None:
        """Take over what became of the endpoint, and let older queues of it be seen to."""
        self.endpoint = endpoint
        self._window.learn(endpoint)
        if endpoint.removed_at is not None:
            self.end(CloseCode.NO_STREAM)
        elif endpoint.state == "disabled":
            self.end(CloseCode.DISABLED)
        self._turned.set()

    def check(self) -> None:
        """End it when what is behind it is away for long, and let nothing stay unacked for too long."""
        now = time.monotonic()
        if not self._stalled:
            self._went_well = now
        elif now - self._went_well > PATIENCE:
            self.end(CloseCode.UNAVAILABLE)
        window = self._window
        window.hands.hand_back(WAITING_AT_MOST)
        late = window.hands.longest > UNACKED_AT_MOST
        if window.longest_unanswered > UNANSWERED_AT_MOST or (late and window.unanswered):
            self.end(CloseCode.UNANSWERED)
        elif late:
            self._reopen = True
            self._turned.set()

    @property
    def _stalled(self) -> bool:
        away = self._window.store_away or not self._recorder.available
        return away or (self.endpoint.state == "active" and not self._source.consuming)

    async def _read(self) -> None:
        try:
            while (frame := await self._peer.receive()) is not None:
                self._window.answered(decode_answer(frame))
        except MalformedFrameError as wrong:
            self.end(CloseCode.MALFORMED, str(wrong))
        finally:
            self._window.stir()

    async def _flow(self) -> None:
        """Have the queue consumed whenever the endpoint is active."""
        generation: int | None = None
        while not self._closing:
            self._turned.clear()
            endpoint = self.endpoint
            wanted = endpoint.generation if endpoint.state == "active" else None
            if generation is not None and (wanted != generation or self._reopen):
                await self._halt(within=ANSWERS_WITHIN, answers=True)
                generation, self._reopen = None, False
            if wanted is not None:
                self._window.flow()
            if wanted is not None and not await self._consume(endpoint, anew=generation is None):
                await asyncio.sleep(PAUSE)
                continue
            generation = wanted
            await self._turned.wait()

    async def _consume(self, endpoint: Endpoint, *, anew: bool) -> bool:
        """Consume the endpoint's queue, if ``anew``, and what is left of older ones; tell whether it did."""
        try:
            if anew:
                await self._source.open(endpoint)
            await self._source.attend_older(endpoint)
        except (TopologyError, UnavailableError) as failed:
            _log.warning("not consuming", endpoint=endpoint.id, reason=str(failed), next="try again")
            if anew:
                await self._source.close()
                return False
        return True

    async def _halt(self, *, within: float, answers: bool) -> None:
        """Have nothing more come, wait for ``answers`` and what follows from them, hand back the rest."""
        self._source.pause()
        await self._window.rest(within=within, wanted=lambda: answers and not self._is_gone)
        await self._window.clear()
        await self._source.close()

    @property
    def _is_gone(self) -> bool:
        """Whether nothing more is read."""
        return self._reading is None or self._reading.done()

    def _lost(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
