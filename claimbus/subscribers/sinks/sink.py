"""What every sink can do."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Protocol

from claimbus.subscribers.received import Received

Done = Callable[[], Awaitable[None]]
"""Notes on disk that an event was taken; until then it comes again after a crash. Raises SinkError."""


class Sink(Protocol):
    """Takes events, one at a time."""

    @contextmanager
    def room(self) -> Iterator[IO[bytes]]:
        """Give a new file for a body that is fetched, there until the block ends. Raises OSError."""
        with TemporaryFile() as file:
            yield file

    async def take(self, event: Received, done: Done) -> None:
        """Take an event, and await ``done`` once, when it needs to come no more.

        A body that was fetched is in the event's ``file``, which is read from its beginning. Raises SinkError
        when the event was not taken, SinkClosedError when none will be any more.
        """

    async def aclose(self) -> None:
        """Give back what is held; no event is in work."""
