"""What every sink can do."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from claimbus.subscribers.received import Received

Done = Callable[[], Awaitable[None]]
"""Notes on disk that an event was taken; until then it comes again after a crash. Raises SinkError."""


class Sink(Protocol):
    """Takes events, one at a time."""

    async def take(self, event: Received, done: Done) -> None:
        """Take an event, and await ``done`` once, when it needs to come no more.

        Raises SinkError when it was not taken, SinkClosedError when none will be any more.
        """

    async def aclose(self) -> None:
        """Give back what is held; no event is in work."""
