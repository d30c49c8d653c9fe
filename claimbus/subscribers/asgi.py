"""ASGI 3, as far as webhooks need it: reading a request within limits, sending a short answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""

WITHIN: Final = 120.0
"""Seconds in which a body must have come: 64 MiB at 1 MiB a second, the slowest that the ISO puts up with."""
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

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._free = max_body * TOGETHER

    @asynccontextmanager
    async def body(self, headers: Mapping[str, str], receive: Receive) -> AsyncIterator[bytes]:
        """Give a request's body and count its bytes until the block ends. Raises RefusedError."""
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self._max_body:
            raise RefusedError(Answer(413))
        body, size = bytearray(), 0
        try:
            await self._read(body, receive)
            whole, size = bytes(body), len(body)
            body.clear()  # or it would be in memory twice for as long as it is handled
            yield whole
        finally:
            self._free += size or len(body)

    async def _read(self, body: bytearray, receive: Receive) -> None:
        more = True
        try:
            async with asyncio.timeout(WITHIN):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(None)
                    part, more = message.get("body", b""), message.get("more_body", False)
                    body += part
                    self._free -= len(part)
                    if len(body) > self._max_body:
                        raise RefusedError(Answer(413))
                    if self._free < 0:
                        raise RefusedError(COME_AGAIN)
        except TimeoutError:
            raise RefusedError(Answer(408)) from None
