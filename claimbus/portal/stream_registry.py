"""All open streams of a portal: who may open one, and what they are told while they are open."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from claimbus.broker.codec import Announcement
from claimbus.broker.connection import Connection
from claimbus.broker.control import listen
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Rung
from claimbus.database import endpoints
from claimbus.database.access import Principal
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.events.errors import ClaimbusError, UnavailableError
from claimbus.events.stream import CloseCode
from claimbus.portal.problems import UnauthenticatedError
from claimbus.portal.stream_connection import Close, Peer, Stream
from claimbus.portal.stream_supply import Supply
from claimstore.latest import Latest
from claimstore.progress import Progress
from claimstore.store import ClaimStore
from consumers.disposition import Disposition
from consumers.handler import Handler
from consumers.metrics import AttemptMetrics
from consumers.provision import Provision
from consumers.recorder import Recorder

STREAMS_AT_MOST: Final = 8
"""Open streams of one participant in one portal."""

LOOK_EVERY: Final = timedelta(seconds=30)
"""Time between two looks at the endpoints and at whose streams they are, should an announcement be missed."""

CHECK_EVERY: Final = 1.0

INTERNAL_ERROR: Final = 1011

Identify = Callable[[], Awaitable[Principal]]
"""Tells who is on the other side. Raises UnauthenticatedError and UnavailableError."""

_log = structlog.get_logger("claimbus.portal.stream")


class RefusedError(ClaimbusError):
    """A stream that is not opened."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.meaning)
        self.code = code


class Streams:
    """Opens streams and looks after them."""

    def __init__(
        self,
        *,
        database: Database,
        store: ClaimStore,
        consuming: Connection,
        publisher: Publisher,
        ladder: tuple[Rung, ...],
        claim_life: timedelta,
        grace: timedelta,
        registry: CollectorRegistry,
        at_most: int = STREAMS_AT_MOST,
        look_every: timedelta = LOOK_EVERY,
    ) -> None:
        """Open none yet. ``grace`` is what stopping takes at most; ``at_most`` is for each participant."""
        recorder = Recorder(database)
        self._database = database
        self._grace = grace.total_seconds()
        self._answers_within = 0.8 * self._grace  # which leaves time to hand the rest back and say good-bye
        self._at_most = at_most
        self._look_every = look_every.total_seconds()
        self._supply = Supply(
            connection=consuming,
            provision=Provision(database, consuming),
            handler=Handler(store, Latest(store.connection, life=claim_life)),
            recorder=recorder,
            disposition=Disposition(recorder, publisher, ladder, AttemptMetrics(registry)),
            progress=Progress(store.connection, life=claim_life),
            ladder=tuple(rung.delay.total_seconds() for rung in ladder),
        )
        self._open: dict[Stream, Identify] = {}
        self._participants: Counter[str] = Counter()
        self._announced: set[str] = set()
        self._stirred = asyncio.Event()
        self._stopping = False
        open_ones = Gauge("claimbus_open_streams", "Streams that are open", registry=registry)
        open_ones.set_function(lambda: len(self._open))
        unanswered = Gauge("claimbus_unanswered_deliveries", "Sent, not answered", registry=registry)
        unanswered.set_function(lambda: sum(stream.unanswered for stream in self._open))

    @asynccontextmanager
    async def running(self, stopping: asyncio.Event) -> AsyncIterator[None]:
        """Let streams be opened, until ``stopping`` is set: then all are ended. Raises UnavailableError."""
        supply = self._supply
        control = await listen(supply.connection, self._heard)
        recording = asyncio.create_task(supply.recorder.run())
        watches = [
            asyncio.create_task(watch)
            for watch in (self._keep_informed(), self._keep_checked(), self._end_when(stopping))
        ]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await control.stop()
            supply.recorder.close()
            await asyncio.wait([recording], timeout=self._grace)
            recording.cancel()
            await supply.disposition.aclose(within=self._grace)

    async def serve(self, endpoint_id: str, identify: Identify, peer: Peer, *, window: int) -> Close | None:
        """Serve one stream to its end; return how to close it, None when the other side is gone."""
        try:
            principal = await identify()
            endpoint = await self._admit(endpoint_id, principal)
        except UnauthenticatedError:
            return _close(CloseCode.UNAUTHENTICATED)
        except RefusedError as refused:
            return _close(refused.code)
        except UnavailableError as away:
            _log.warning("stream not opened", reason=str(away))
            return _close(CloseCode.UNAVAILABLE)
        log = _log.bind(endpoint=endpoint.id, participant=endpoint.participant_id, principal=principal.name)
        stream = Stream(endpoint, peer, self._supply, window=1 if endpoint.ordered else window)
        self._open[stream] = identify
        self._participants[endpoint.participant_id] += 1
        log.info("stream open", window=window)
        try:
            close = await stream.run(grace=self._answers_within)
        except Exception:
            log.exception("stream failed")
            return Close(INTERNAL_ERROR, "something went wrong here")
        else:
            log.info("stream ended", reason="the other side left" if close is None else close.reason)
            return close
        finally:
            del self._open[stream]
            self._participants[endpoint.participant_id] -= 1

    async def _admit(self, endpoint_id: str, principal: Principal) -> Endpoint:
        """Return the endpoint if it may be streamed from. Raises RefusedError and UnavailableError.

        One that is not there is refused as somebody else's is: nobody learns which there are.
        """
        endpoint = None
        if endpoint_id.isascii() and endpoint_id.isprintable():
            with suppress(NotFoundError):
                endpoint = await self._database.read(lambda sql: endpoints.get(sql, endpoint_id))
        if endpoint is None or not principal.acts_for(endpoint.participant_id):
            raise RefusedError(CloseCode.NOT_ENTITLED)
        if endpoint.kind != "stream" or endpoint.removed_at is not None:
            raise RefusedError(CloseCode.NO_STREAM)
        if endpoint.state == "disabled":
            raise RefusedError(CloseCode.DISABLED)
        if self._participants[endpoint.participant_id] >= self._at_most:
            raise RefusedError(CloseCode.TOO_MANY)
        if self._stopping:
            raise RefusedError(CloseCode.STOPPING)
        return endpoint

    def _heard(self, announcement: Announcement) -> None:
        if announcement.what == "changed":
            self._announced.add(announcement.endpoint)
            self._stirred.set()

    async def _keep_informed(self) -> None:
        """Let streams know what became of their endpoints: when it is announced, and now and then."""
        loop = asyncio.get_running_loop()
        next_look = loop.time() + self._look_every
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._stirred.wait()
            self._stirred.clear()
            announced, self._announced = self._announced, set()
            try:
                if loop.time() >= next_look:
                    next_look = loop.time() + self._look_every
                    await self._inform(set(self._open))
                    await self._identify_anew()
                else:
                    await self._inform({one for one in self._open if one.endpoint.id in announced})
            except UnavailableError as away:
                _log.warning("endpoints not looked at", reason=str(away), next="try again")
            except Exception:  # noqa: BLE001 - logged; the next look must come
                _log.exception("endpoints not looked at", next="try again")

    async def _inform(self, streams: set[Stream]) -> None:
        ids = {stream.endpoint.id for stream in streams}
        if not ids:
            return
        found = await self._database.read(lambda sql: {one: endpoints.get(sql, one) for one in ids})
        for stream in streams:
            stream.learn(found[stream.endpoint.id])

    async def _identify_anew(self) -> None:
        """End the streams of those whose credential does not count any more."""
        for stream, identify in list(self._open.items()):
            try:
                principal = await identify()
            except UnauthenticatedError:
                stream.end(CloseCode.UNAUTHENTICATED)
            else:
                if not principal.acts_for(stream.endpoint.participant_id):
                    stream.end(CloseCode.NOT_ENTITLED)

    async def _keep_checked(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            for stream in self._open:
                stream.check()

    async def _end_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._stopping = True
        for stream in self._open:
            stream.end(CloseCode.STOPPING)


def _close(code: CloseCode) -> Close:
    return Close(code, code.meaning)
