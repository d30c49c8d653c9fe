"""One client's connection to a receiver: HTTP/1.1 by h11, which leaves the bytes to us to spoil."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import h11

from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.cli.demo.receivers.record import Arrival, Headers, Received

_CHUNK: Final = 65536
_CLOSE_BY_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 seconds


class Conversation:
    """Requests in, answers out, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def next(self, begin: Callable[[str, str, Headers], Arrival]) -> Received | None:
        """Return the next request; None when there is none, because one side closed.

        Raises OSError for a broken connection, h11.RemoteProtocolError for what is no HTTP.
        """
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        arrival: Arrival | None = None
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                headers = [(name.decode(), value.decode()) for name, value in event.headers]
                arrival = begin(event.method.decode(), event.target.decode(), headers)
            elif isinstance(event, h11.Data) and arrival is not None:
                arrival.feed(event.data)
            elif isinstance(event, h11.EndOfMessage) and arrival is not None:
                return arrival.complete()
            else:
                return None

    async def answer(self, behaviour: Behaviour) -> None:
        """Answer the request as this behaviour does. Raises OSError for a broken connection."""
        match behaviour.kind:
            case "hang":
                await self._reader.read()
            case "reset":
                connection = self._writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_BY_RESET)
                self._writer.transport.abort()
            case "huge":
                await self._huge(behaviour.size)
            case "drip":
                for byte in self._head(204) + self._end():
                    await self._send(bytes([byte]))
                    await asyncio.sleep(behaviour.seconds)
            case _:
                await self._send(self._head(behaviour.status, behaviour.headers) + self._end())

    async def _huge(self, size: int) -> None:
        await self._send(self._head(200, {"content-length": str(size)} if size else {}))
        left = size
        while left or not size:
            chunk = bytes(min(left or _CHUNK, _CHUNK))
            await self._send(self._http.send(h11.Data(chunk)) or b"")
            left -= len(chunk) if size else 0
        await self._send(self._end())

    def _head(self, status: int, headers: dict[str, str] | None = None) -> bytes:
        return self._http.send(h11.Response(status_code=status, headers=list((headers or {}).items()))) or b""

    def _end(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


def abort(writer: asyncio.StreamWriter) -> None:
    """Cut a connection; one that has ended is fine."""
    with suppress(AttributeError):  # before Python 3.11.3 a TLS transport forgets its protocol too early
        writer.transport.abort()
