"""A TCP proxy between two processes: a network that delays, swallows, cuts and falls silent."""

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

BY_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for 0 seconds. A socket closed so tells its peer by RST and sends nothing more."""

END: Final = b""
"""What goes to the other side when this one has said all."""


class Link:
    """A port that leads to another one. It has one injury at a time; ``mend`` ends it.

    ``to`` is where it leads, host and port, and may be set anew at any time; while it is None, connections
    are reset. It runs in the event loop in which it was opened.
    """

    def __init__(self, to: tuple[str, int] | None = None) -> None:
        self.to = to
        self.port = 0
        self.accepted = 0
        self.lag = 0.0
        self.swallows = False
        self.frozen = False
        self.ends: set[_End] = set()
        self._left = math.inf  # bytes that may pass before the cut
        self._connecting: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, to: tuple[str, int] | None = None) -> AsyncIterator["Link"]:
        """Listen on a free port of the loopback interface."""
        link = cls(to)
        server = await asyncio.get_running_loop().create_server(lambda: _End(link), "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        try:
            yield link
        finally:
            server.close()
            for task in link._connecting:
                task.cancel()
            await asyncio.gather(*link._connecting, return_exceptions=True)
            link.reset()
            await asyncio.sleep(0)  # transports are closed in the next turn of the loop

    def delay(self, seconds: float) -> None:
        """Have everything on its way for so long, in each direction; as much passes as before."""
        self.lag = seconds

    def drop(self) -> None:
        """Swallow what is sent, the ends of connections too; new ones are taken and lead nowhere.

        A connection that has lost something is reset when the link is mended.
        """
        self.swallows = True
        self._look()

    def cut(self, after_bytes: int) -> None:
        """Let so many bytes pass, over all connections and both ways, then reset all connections.

        Then the link is mended.
        """
        self._left = after_bytes

    def half_open(self) -> None:
        """Move nothing and close nothing; new connections are taken and wait. Mended, all goes on."""
        self.frozen = True
        self._look()

    def mend(self) -> None:
        """Be a good network again."""
        self.lag, self.swallows, self.frozen, self._left = 0.0, False, False, math.inf
        self._look()

    @property
    def injured(self) -> bool:
        """Whether it is no good network at this moment."""
        return bool(self.lag) or self.swallows or self.frozen or self._left < math.inf

    def reset(self) -> None:
        """End all connections at once."""
        for end in tuple(self.ends):
            end.reset()

    def pass_on(self, data: bytes, end: "_End") -> None:
        """Send what may pass to an end; reset everything once the bytes before a cut have passed."""
        if len(data) < self._left:
            self._left -= len(data)
            end.send(data)
        else:
            end.send(data[: int(self._left)])
            self._left = math.inf
            self.reset()

    def connect(self, inner: "_End", outer: "_End") -> None:
        """Begin to connect an end with where the link leads."""
        task = asyncio.create_task(self._connect(inner, outer))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, inner: "_End", outer: "_End") -> None:
        try:
            if self.to is None:
                raise ConnectionRefusedError
            await asyncio.get_running_loop().create_connection(lambda: outer, *self.to)
        except OSError:
            inner.reset()

    def _look(self) -> None:
        for end in tuple(self.ends):
            end.look()


class _End(asyncio.Protocol):
    """One end of a connection through a link. What it hears goes to the other end, if the link allows it."""

    def __init__(self, link: Link, other: "_End | None" = None) -> None:
        self._link = link
        self._other = other  # for the end that came from outside: when it is being connected
        self._transport: asyncio.Transport | None = None
        self._on_the_way: deque[bytes] = deque()
        self._arrives = 0.0  # the last of these, by the loop's clock
        self._full = False
        self._bereft = False
        self._heard_all = self._said_all = self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link.ends.add(self)
        if self._other is None:
            self._link.accepted += 1
        elif self._other._over:
            self.reset()
        else:
            self._other.look()
        # In the next turn: Python 3.11.2 begins to read after this one, whether it was paused here or not.
        asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Do as the link is: read or wait, get connected, or end what has lost something."""
        link, transport = self._link, self._transport
        if transport is None or transport.is_closing():
            return
        if self._bereft and not link.swallows:
            self.reset()
            return
        if self._other is None and not (link.swallows or link.frozen):
            self._other = _End(link, self)
            link.connect(self, self._other)
        if not link.frozen and (link.swallows or (self._other is not None and self._other.takes)):
            transport.resume_reading()
        else:
            transport.pause_reading()

    @property
    def takes(self) -> bool:
        """Whether more can be sent to it now."""
        return self._transport is not None and not self._full

    def data_received(self, data: bytes) -> None:
        if self._link.swallows or self._other is None:
            self._lose()
        else:
            self._link.pass_on(data, self._other)

    def eof_received(self) -> bool:
        self._heard_all = True
        if self._link.swallows or self._other is None:
            self._lose()
        else:
            self._other.send(END)
            self._close_when_done()
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self._transport, self._over = None, True
        self._link.ends.discard(self)
        if self._other is None or self._other._over:
            return
        if self._link.swallows:
            self._other._bereft = True
        elif error is None and self._heard_all:
            self._other.send(END)
        else:
            self._other.reset()

    def pause_writing(self) -> None:
        self._full = True
        if self._other is not None:
            self._other.look()

    def resume_writing(self) -> None:
        self._full = False
        if self._other is not None:
            self._other.look()

    def send(self, data: bytes) -> None:
        """Send it to the peer, after the link's delay and what is on its way already."""
        if not self._link.lag and not self._on_the_way:
            self._write(data)
            return
        loop = asyncio.get_running_loop()
        self._on_the_way.append(data)
        self._arrives = max(self._arrives, loop.time() + self._link.lag)
        loop.call_at(self._arrives, lambda: self._write(self._on_the_way.popleft()))

    def reset(self) -> None:
        """Close it by RST."""
        if self._transport is not None:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BY_RESET)
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if data is END:
            self._transport.write_eof()
            self._said_all = True
            self._close_when_done()
        else:
            self._transport.write(data)

    def _close_when_done(self) -> None:
        if self._heard_all and self._said_all and self._transport is not None:
            self._transport.close()

    def _lose(self) -> None:
        self._bereft = True
        if self._other is not None:
            self._other._bereft = True
