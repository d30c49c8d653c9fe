"""HTTP/1.1 for our listeners: uvicorn's, with an end to its patience.

uvicorn waits for ever for a request's head, and for an answer to be read. Whoever opened connections and did
nothing on them could use up a listener's memory, or its connections, before anybody knows who that is.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN: Final = 20.0
"""Seconds for a request's head, from its connection's beginning or the answer before."""

READ_WITHIN: Final = 120.0
"""Seconds in which what waits to be sent must have been read: 1 MiB or so, at 9 KiB a second."""


class HttpProtocol(H11Protocol):
    """Breaks off a connection on which nobody asks anything, or does not read the answer."""

    head_within: float = HEAD_WITHIN
    read_within: float = READ_WITHIN

    _until_head: asyncio.TimerHandle | None = None
    _until_read: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin, after the handshake."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._await_no_head()
        self._await_no_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if self._answering:
            self._await_no_head()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        super().on_response_complete()
        if not self._answering:
            self._await_head()

    def handle_websocket_upgrade(self, event: object) -> None:
        """Hand the connection on."""
        self._await_no_head()
        self._await_no_reader()
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]  # h11 has no types

    def pause_writing(self) -> None:
        """Write no more for now."""
        super().pause_writing()
        self._await_no_reader()
        self._until_read = self.loop.call_later(self.read_within, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._await_no_reader()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._await_no_head()
        self._until_head = self.loop.call_later(self.head_within, self.transport.abort)

    def _await_no_head(self) -> None:
        if self._until_head is not None:
            self._until_head.cancel()
            self._until_head = None

    def _await_no_reader(self) -> None:
        if self._until_read is not None:
            self._until_read.cancel()
            self._until_read = None
