"""ASGI 3, as far as webhooks need it: reading a request within limits, sending a short answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from claimbus.subscribers.room import Peers, Place, Room, peer_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""

PATIENCE: Final = 20.0
SLOWEST: Final = 1024 * 1024
"""Seconds in which a body must have come, and one more for each so many bytes: the ISO waits no longer."""
TOGETHER: Final = 4
"""So many bodies of the greatest size may be in memory at a time."""
COME_BACK: Final = 5
"""Seconds for ``Retry-After``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, with headers in lower case and a line of text if need be."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    async def send(self, send: Send) -> None:
        """Send it."""
        content = self.text.encode()
        headers = dict(self.headers)
        if self.status != 204:
            headers |= {"content-type": "text/plain; charset=utf-8", "content-length": str(len(content))}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": content})


COME_AGAIN: Final = Answer(503, {"retry-after": str(COME_BACK)})


class RefusedError(Exception):
    """A request that gets no further; ``answer`` is None when nobody waits for one any more."""

    def __init__(self, answer: Answer | None) -> None:
        super().__init__(answer)
        self.answer = answer


def headers_of(scope: Scope) -> dict[str, str]:
    """Return a request's headers, names in lower case; what was repeated is one list (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class Intake:
    """Reads bodies of at most ``max_body`` bytes, a few such at a time: nobody has proved anything yet."""

    def __init__(self, max_body: int, peers: Peers) -> None:
        self._max_body = max_body
        self._room = Room(max_body * TOGETHER, peers)

    @asynccontextmanager
    async def body(self, headers: Mapping[str, str], receive: Receive, peer: str) -> AsyncIterator[bytes]:
        """Give a request's body and count its bytes until the block ends. Raises RefusedError."""
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self._max_body:
            raise RefusedError(Answer(413))
        reading = _Reading(peer_of(peer), receive)
        try:
            yield await reading.whole(self._room, self._max_body)
        finally:
            self._room.leave(reading.place)


class _Reading:
    """A body that is being read."""

    def __init__(self, peer: str, receive: Receive) -> None:
        self.place: Final = Place(peer, self._drop)
        self._receive = receive
        self._dropped = False
        self._until = asyncio.timeout(PATIENCE)

    async def whole(self, room: Room, most: int) -> bytes:
        began = asyncio.get_running_loop().time()
        body, more = bytearray(), True
        try:
            async with self._until:
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(None)
                    part, more = message.get("body", b""), message.get("more_body", False)
                    body += part
                    if len(body) > most:
                        raise RefusedError(Answer(413))
                    if self._dropped or not room.take(self.place, len(part)):
                        raise RefusedError(COME_AGAIN)
                    self._until.reschedule(began + PATIENCE + len(body) / SLOWEST)
        except TimeoutError:
            raise RefusedError(COME_AGAIN if self._dropped else Answer(408)) from None
        return bytes(body)

    def _drop(self) -> None:
        """Read no more: others need the room."""
        self._dropped = True
        with suppress(RuntimeError):  # its time is over anyway
            self._until.reschedule(0)
