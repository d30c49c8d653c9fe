"""All open streams of a portal: who may open one, and what they are told while they are open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from claimbus.broker.codec import Announcement
from claimbus.broker.connection import Connection
from claimbus.broker.connections import Connections
from claimbus.broker.control import listen
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Rung
from claimbus.database import endpoints, type_dates
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from claimbus.events.stream import CloseCode
from claimbus.portal.stream_admission import Admission, Guest, Identify, RefusedError
from claimbus.portal.stream_connection import Close, Peer, Stream
from claimbus.portal.stream_supply import Supply
from claimstore.latest import Latest
from claimstore.progress import Progress
from claimstore.store import ClaimStore
from consumers.disposition import Disposition
from consumers.garbage import collect_seldom
from consumers.handler import Handler
from consumers.head import Head
from consumers.metrics import AttemptMetrics
from consumers.provision import Provision
from consumers.recorder import Recorder

STREAMS_AT_MOST: Final = 8
"""Open streams of one participant in one portal."""

LOOK_EVERY: Final = timedelta(seconds=30)
"""Time between two looks at the endpoints, at whose streams they are, and at the dates of event types."""

CHECK_EVERY: Final = 1.0

IDENTIFIED_WITHIN: Final = timedelta(minutes=5)
"""Time after which a stream is closed of which it cannot be told whether its credential still counts."""

INTERNAL_ERROR: Final = 1011

_log = structlog.get_logger("claimbus.portal.stream")


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
        identified_within: timedelta = IDENTIFIED_WITHIN,
    ) -> None:
        """Open none yet. ``grace`` is what stopping takes at most; ``at_most`` is for each participant.

        ``consuming`` is the first connection; when its channels are used up, further ones are opened like it.
        """
        recorder = Recorder(database)
        disposition = Disposition(recorder, publisher, ladder, AttemptMetrics(registry))
        self._database = database
        self._grace = grace.total_seconds()
        self._answers_within = 0.8 * self._grace  # which leaves time to hand the rest back and say good-bye
        self._admission = Admission(database, at_most=at_most)
        self._look_every = look_every.total_seconds()
        self._identified_within = identified_within.total_seconds()
        self._consuming = consuming
        self._connections = Connections(consuming)
        self._supply = Supply(
            connections=self._connections,
            provision=Provision(database, consuming),
            handler=Handler(store, Latest(store.connection, life=claim_life)),
            recorder=recorder,
            disposition=disposition,
            head=Head(Progress(store.connection, life=claim_life), disposition),
            ladder=tuple(rung.delay.total_seconds() for rung in ladder),
        )
        self._open: dict[Stream, Guest] = {}
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
        collect_seldom()
        supply = self._supply
        control = await listen(self._consuming, self._heard)
        recording = asyncio.create_task(supply.recorder.run())
        watches = [
            asyncio.create_task(watch)
            for watch in (
                self._keep_informed(),
                self._keep_identified(),
                self._keep_checked(),
                self._end_when(stopping),
            )
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
            await self._connections.aclose()

    async def serve(self, endpoint_id: str, identify: Identify, peer: Peer, *, window: int) -> Close | None:
        """Serve one stream to its end; return how to close it, None when the other side is gone."""
        try:
            endpoint, principal = await self._admission.admit(endpoint_id, identify)
            if self._stopping:
                raise RefusedError(CloseCode.STOPPING)  # noqa: TRY301 - as the admission refuses
        except RefusedError as refused:
            return Close(refused.code, str(refused))
        except UnavailableError as away:
            _log.warning("stream not opened", reason=str(away))
            return Close(CloseCode.UNAVAILABLE, CloseCode.UNAVAILABLE.meaning)
        log = _log.bind(endpoint=endpoint.id, participant=endpoint.participant_id, principal=principal.name)
        stream = Stream(endpoint, peer, self._supply, window=1 if endpoint.ordered else window)
        self._open[stream] = Guest(identify, endpoint.participant_id)
        log.info("stream open", window=window)
        try:
            with self._admission.counted(endpoint.participant_id):
                close = await stream.run(grace=self._answers_within)
        except Exception:
            log.exception("stream failed")
            return Close(INTERNAL_ERROR, "something went wrong here")
        else:
            log.info("stream ended", reason="the other side left" if close is None else close.reason)
            return close
        finally:
            del self._open[stream]

    def _heard(self, announcement: Announcement) -> None:
        if announcement.what == "changed":
            self._announced.add(announcement.endpoint)
            self._stirred.set()

    async def _keep_informed(self) -> None:
        """Let streams know what became of their endpoints: when it is announced, and now and then."""
        loop = asyncio.get_running_loop()
        next_look = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._stirred.wait()
            self._stirred.clear()
            announced, self._announced = self._announced, set()
            concerned = {one for one in self._open if one.endpoint.id in announced}
            look = loop.time() >= next_look
            if look:
                next_look = loop.time() + self._look_every
                concerned = set(self._open)
            try:
                if look:
                    handler = self._supply.handler
                    handler.heed(await self._database.read(type_dates.types_in_force))
                await self._inform(concerned)
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

    async def _keep_identified(self) -> None:
        """End the streams of those whose credential does not count any more."""
        while True:
            await asyncio.sleep(self._look_every)
            for stream, guest in list(self._open.items()):
                try:
                    await guest.identify_anew()
                except RefusedError as refused:
                    stream.end(refused.code)
                except UnavailableError as away:
                    _log.warning("not identified", endpoint=stream.endpoint.id, reason=str(away))
                except Exception:  # noqa: BLE001 - logged; the others' turn must come
                    _log.exception("not identified", endpoint=stream.endpoint.id, next="try again")

    async def _keep_checked(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            for stream, guest in self._open.items():
                if guest.uncertain_for > self._identified_within:
                    stream.end(CloseCode.UNAVAILABLE)
                try:
                    stream.check()
                except Exception:  # noqa: BLE001 - logged; the others' turn must come
                    _log.exception("not checked", endpoint=stream.endpoint.id, next="try again")

    async def _end_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._stopping = True
        for stream in self._open:
            stream.end(CloseCode.STOPPING)
