"""What becomes of an event that arrived, by webhook or stream: once into the sink, then acked."""

import asyncio
import time
from typing import Final, Literal

import structlog

from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.errors import SinkClosedError, SinkError, StoppingError
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Sink

Outcome = Literal["taken", "duplicate", "stale"]

_log: Final = structlog.get_logger("claimbus.subscribers")


class Inbox:
    """Gives events to a sink, one at a time in the order of arrival, and each only once.

    With ``latest``, an outage's status is left out when a newer one of it was taken. It owns the sink and the
    dedupe and closes both. Each event is one line in the log.
    """

    def __init__(self, sink: Sink, dedupe: Dedupe, *, latest: bool = False) -> None:
        self.stopped: Final = asyncio.Event()
        """Set by `stop`, or when the sink will take nothing any more: time to end."""
        self.failed = False
        """Whether it is the sink that ended it."""
        self._sink = sink
        self._dedupe = dedupe
        self._latest = latest
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
                await self._sink.take(event, lambda: asyncio.to_thread(self._dedupe.done, event))
            except SinkError as failed:
                if isinstance(failed, SinkClosedError):
                    self.failed = True
                    self.stop()
                _line(event).warning("event not taken", reason=str(failed), next="it comes again")
                raise
            return self._told(event, "taken", ms=round((time.monotonic() - began) * 1000))

    def _known(self, event: Received) -> Outcome | None:
        if self._dedupe.seen(event.message_id):
            return "duplicate"
        if self._latest and self._dedupe.stale(event):
            return "stale"
        return None

    @staticmethod
    def _told(event: Received, outcome: Outcome, **more: object) -> Outcome:
        _line(event).info("event " + outcome, **more)
        return outcome

    def _ended(self, work: asyncio.Task[Outcome]) -> None:
        self._at_work.discard(work)
        if not work.cancelled():
            work.exception()  # looked at here for a caller who was cancelled and never will


def _line(event: Received) -> structlog.typing.FilteringBoundLogger:
    known = {
        "message_id": event.message_id,
        "type": event.type,
        "partitionkey": event.partitionkey,
        "sequence": event.sequence,
        "attempt": event.attempt,
        "replay": event.replay,
        "size": None if event.body is None else len(event.body),
    }
    line: structlog.typing.FilteringBoundLogger = _log.bind(
        **{name: value for name, value in known.items() if value is not None}
    )
    return line
