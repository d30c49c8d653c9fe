"""What becomes of an event that arrived, by webhook or stream: once into the sink, then acked."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final, Literal

import structlog

from claimbus.subscribers.claims import Claims
from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.errors import SinkClosedError, SinkError, StoppingError
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Sink

Outcome = Literal["taken", "duplicate", "stale"]

_log: Final = structlog.get_logger("claimbus.subscribers")


class Inbox:
    """Gives events to a sink, one at a time in the order of arrival, and each only once.

    With ``latest``, an outage's status is left out when a newer one of it was taken. With ``claims``, a body
    that did not come with its event is fetched, once it is known that the event is to be taken; without, the
    sink gets the ``dataref``. It owns sink, dedupe and claims, and closes them. Each event is one line in the
    log.
    """

    def __init__(
        self, sink: Sink, dedupe: Dedupe, *, latest: bool = False, claims: Claims | None = None
    ) -> None:
        self.stopped: Final = asyncio.Event()
        """Set by `stop`, or when the sink will take nothing any more: time to end."""
        self.failed = False
        """Whether it is the sink that ended it."""
        self._sink = sink
        self._dedupe = dedupe
        self._latest = latest
        self._claims = claims
        self._told_of_datarefs = False
        self._turn = asyncio.Lock()
        self._at_work: set[asyncio.Task[Outcome]] = set()

    async def handle(self, event: Received) -> Outcome:
        """Return once the event needs to come no more: ack it then.

        A duplicate of an event that is in work waits for it. A cancelled caller does not cut the work short.
        Raises SinkError or StoppingError: the event must come again.
        """
        work = asyncio.create_task(self._in_turn(event))
        self._at_work.add(work)
        work.add_done_callback(self._ended)
        return await asyncio.shield(work)

    def stop(self) -> None:
        """Take no more; the event in work is finished."""
        self.stopped.set()

    async def aclose(self) -> None:
        """Stop, finish the event in work, close the sink and the dedupe."""
        self.stop()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        try:
            await self._sink.aclose()
        finally:
            self._dedupe.close()
            if self._claims is not None:
                await self._claims.aclose()

    async def _in_turn(self, event: Received) -> Outcome:
        if self._turn.locked() and await asyncio.to_thread(self._dedupe.seen, event.message_id):
            return self._told(event, "duplicate")
        async with self._turn:
            if self.stopped.is_set():
                raise StoppingError("stopping: the event must come again")
            known = await asyncio.to_thread(self._known, event)
            if known is not None:
                return self._told(event, known)
            began = time.monotonic()
            try:
                async with self._with_body(event) as whole:
                    line = _line(whole)
                    await self._sink.take(whole, lambda: asyncio.to_thread(self._dedupe.done, event))
            except SinkError as failed:
                if isinstance(failed, SinkClosedError):
                    self.failed = True
                    self.stop()
                _line(event).warning("event not taken", reason=str(failed), next="it comes again")
                raise
            line.info("event taken", ms=round((time.monotonic() - began) * 1000))
            return "taken"

    @asynccontextmanager
    async def _with_body(self, event: Received) -> AsyncIterator[Received]:
        """Give an event with its body in a file, if it did not come with it; raises SinkError."""
        if event.dataref is None or self._claims is None:
            self._tell_of_dataref(event)
            yield event
            return
        try:
            with self._sink.room() as file:
                async with aclosing(self._claims.chunks(event.dataref)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(file.seek, 0)
                yield replace(event, dataref=None, request=None, file=file)
        except OSError as failed:
            raise SinkError(f"no room for the body: {failed.strerror}") from failed

    def _tell_of_dataref(self, event: Received) -> None:
        if event.dataref is not None and not self._told_of_datarefs:
            self._told_of_datarefs = True
            _log.warning("body not fetched", next="this dataref and further ones are handed on; see --portal")

    def _known(self, event: Received) -> Outcome | None:
        if self._dedupe.seen(event.message_id):
            return "duplicate"
        if self._latest and self._dedupe.stale(event):
            return "stale"
        return None

    @staticmethod
    def _told(event: Received, outcome: Outcome) -> Outcome:
        _line(event).info("event " + outcome)
        return outcome

    def _ended(self, work: asyncio.Task[Outcome]) -> None:
        self._at_work.discard(work)
        if not work.cancelled():
            work.exception()  # looked at here for a caller who was cancelled and never will


def _size(event: Received) -> int | None:
    """Return the bytes of a body that is here."""
    if event.file is not None:
        return os.fstat(event.file.fileno()).st_size
    return None if event.body is None else len(event.body)


def _line(event: Received) -> structlog.typing.FilteringBoundLogger:
    known = {
        "message_id": event.message_id,
        "type": event.type,
        "partitionkey": event.partitionkey,
        "sequence": event.sequence,
        "attempt": event.attempt,
        "replay": event.replay,
        "size": _size(event),
    }
    line: structlog.typing.FilteringBoundLogger = _log.bind(
        **{name: value for name, value in known.items() if value is not None}
    )
    return line
