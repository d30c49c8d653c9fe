"""A producer for code that is not asynchronous: the same producer, in an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

from claimbus.events.event import ALL, Audience, Event
from producers.producer import Producer, Receipt

T = TypeVar("T")


class SyncProducer:
    """Publishes from any thread, each call blocking until its event is published.

    A context manager. Calls from many threads share one window of confirms, as concurrent callers of
    `Producer` do. Do not take it over a fork.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Producer]]) -> None:
        """Open a producer in a thread of its own; ``opening`` closes its connections at the end too.

        Raises what ``opening`` raises.
        """
        self._under_way: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._closed = False
        opened: Future[tuple[Producer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_serve(opening, opened)), name="claimbus producer", daemon=True
        )
        self._thread.start()
        self._producer, self._loop, self._stop = opened.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def event(
        self, type_: str, body: bytes, *, audience: Audience = ALL, datacontenttype: str = "application/json"
    ) -> Event:
        """As `Producer.event`."""
        return self._producer.event(type_, body, audience=audience, datacontenttype=datacontenttype)

    def publish(self, event: Event, *, fresh: bool = False) -> Receipt:
        """As `Producer.publish`."""
        return self._call(self._producer.publish(event, fresh=fresh))

    def publish_many(self, events: Sequence[Event], *, fresh: bool = False) -> list[Receipt]:
        """As `Producer.publish_many`."""
        return self._call(self._producer.publish_many(events, fresh=fresh))

    def close(self) -> None:
        """Wait for the calls that are under way and close. A call after it raises RuntimeError."""
        with self._lock:
            self._closed = True
            under_way = set(self._under_way)
        wait(under_way)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._closed:
                coroutine.close()
                raise RuntimeError("the producer is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._under_way.add(future)
        try:
            return future.result()
        finally:
            future.cancel()  # does nothing but when the wait itself was interrupted
            with self._lock:
                self._under_way.discard(future)


async def _serve(
    opening: Callable[[], AbstractAsyncContextManager[Producer]],
    opened: "Future[tuple[Producer, asyncio.AbstractEventLoop, asyncio.Event]]",
) -> None:
    """Keep a producer open until it is told to stop."""
    stop = asyncio.Event()
    try:
        async with opening() as producer:
            opened.set_result((producer, asyncio.get_running_loop(), stop))
            await stop.wait()
    except BaseException as failed:
        if opened.done():
            raise
        opened.set_exception(failed)
