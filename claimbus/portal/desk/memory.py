"""What a portal keeps in memory for its desk, and what runs for it beside the requests."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from claimbus.database.engine import Database
from claimbus.portal.services import Services

T = TypeVar("T")


class Memory:
    """One of each kind of thing, made when it is first asked for, and the tasks that were started."""

    def __init__(self) -> None:
        self._things: dict[type, object] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def the(self, kind: type[T]) -> T:
        """Return the one of its kind."""
        return cast("T", self._things.setdefault(kind, kind()))

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Let something run beside the requests, until it ends or the portal does."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """End what runs."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits for it, if anybody does


class Fresh(Generic[T]):
    """The answer of a look that costs something, shared by all who ask: one looks at a time.

    An answer counts for ``kept`` seconds, and for ten times as long as the look took, but ``most`` seconds at
    most. For ``stale`` seconds more it is given, too, while a new look is under way.
    """

    def __init__(self, kept: float, stale: float = 0.0, most: float = math.inf) -> None:
        self._kept = kept
        self._most = most
        self._stale = stale
        self._found: T | None = None
        self._until = 0.0
        self._looking: asyncio.Task[T] | None = None

    async def get(self, memory: Memory, look: Callable[[], Awaitable[T]]) -> T:
        """Return what a look finds, or found a moment ago."""
        now = time.monotonic()
        if self._found is not None and now < self._until:
            return self._found
        if self._looking is None or self._looking.done():
            self._looking = memory.start(self._look(look), "the desk looks")
        if self._found is not None and now < self._until + self._stale:
            return self._found
        return await asyncio.shield(self._looking)

    async def _look(self, look: Callable[[], Awaitable[T]]) -> T:
        begun = time.monotonic()
        self._found = found = await look()
        ended = time.monotonic()
        self._until = ended + min(max(self._kept, 10 * (ended - begun)), self._most)
        return found


_OF_PORTALS: Final[WeakKeyDictionary[Database, Memory]] = WeakKeyDictionary()


def of(services: Services) -> Memory:
    """Return the memory of the portal that these services are: of its database, which it has for itself."""
    return _OF_PORTALS.setdefault(services.database, Memory())
