"""HTTP/1.1 to the ISO's portal, over TLS that trusts whom the stream trusts, and nobody besides."""

import asyncio
import base64
import ssl
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from claimbus.events.errors import UnavailableError
from claimbus.subscribers.address import Identity, Origin

CONNECT_WITHIN: Final = 10.0
"""Seconds for a connection with its handshake."""
READ_WITHIN: Final = 30.0
"""Seconds that may pass without a byte."""
REUSE_WITHIN: Final = 4.0
"""Seconds after which an idle connection is not used any more; common servers close theirs after 5."""

_PIECE: Final = 256 * 1024
"""Bytes that are read at a time, at most."""


class ConnectionLostError(UnavailableError):
    """No connection, or it ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, names in lower case."""

    status: int
    headers: Mapping[str, str]


class Connection:
    """Asks one thing at a time. Every wait has an end; cancelling one leaves it of no more use.

    All methods raise ConnectionLostError.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._used = time.monotonic()

    @classmethod
    async def open(cls, origin: Origin, identity: Identity) -> Self:
        """Connect, through the proxy of the environment if there is one; ConfigurationError for a file."""
        context = identity.context() if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                return await cls._open(origin, context)
        except TimeoutError as late:
            raise ConnectionLostError(f"no connection within {CONNECT_WITHIN:g} s") from late
        except ssl.SSLCertVerificationError as wrong:
            reason = f"the portal's certificate is not trusted: {wrong.verify_message}"
            raise ConnectionLostError(reason) from wrong
        except (OSError, ValueError) as failed:
            raise ConnectionLostError(f"no connection: {_told(failed)}") from failed

    @classmethod
    async def _open(cls, origin: Origin, context: ssl.SSLContext | None) -> Self:
        proxy = _proxy(origin)
        if proxy is None or context is None:
            return cls(*await asyncio.open_connection(origin.host, origin.port, ssl=context, limit=_PIECE))
        parts = urlsplit(proxy)
        if parts.scheme != "http" or not parts.hostname:
            raise ConnectionLostError("the environment's proxy is not of the form http://HOST:PORT")
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=_PIECE)
        tunnel = cls(reader, writer)
        try:
            await tunnel._lead_to(origin, parts)
            await writer.start_tls(context, server_hostname=origin.host)
        except BaseException:
            tunnel.abort()
            raise
        return cls(reader, writer)

    async def _lead_to(self, origin: Origin, proxy: SplitResult) -> None:
        headers = {}
        if proxy.username is not None:
            user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            headers["proxy-authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        answer = await self.ask("CONNECT", origin, origin.authority, headers)
        if not 200 <= answer.status < 300:
            raise ConnectionLostError(f"the proxy answered HTTP {answer.status}")

    async def ask(self, method: str, origin: Origin, target: str, headers: Mapping[str, str]) -> Answer:
        """Send a request without a body, and return the head of its answer."""
        named = {"host": origin.authority, "user-agent": "claimbus", **headers}
        request = h11.Request(method=method, target=target, headers=list(named.items()))
        self._writer.write(self._http.send(request) or b"")
        self._http.send(h11.EndOfMessage())  # of which nothing travels
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 100 and its like
        found = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        return Answer(event.status_code, found)

    async def read(self) -> bytes:
        """Return the next bytes of the answer's body as they have come; none at its end."""
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
        self._used = time.monotonic()
        return b""

    def reuse(self) -> bool:
        """Tell whether it can be asked something more, and get it ready for that."""
        fresh = time.monotonic() - self._used < REUSE_WITHIN
        if not fresh or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        unasked, _ = self._http.trailing_data  # it would pass for the next answer
        self._http.start_next_cycle()
        return not (unasked or self._reader.at_eof())

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """End it in order, if the other side does its part soon."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _event(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(READ_WITHIN):
                    self._http.receive_data(await self._reader.read(_PIECE))
        except TimeoutError as late:
            raise ConnectionLostError(f"nothing came for {READ_WITHIN:g} s") from late
        except (OSError, h11.RemoteProtocolError) as broken:
            raise ConnectionLostError(f"the connection broke: {_told(broken)}") from broken
        return event


def _proxy(origin: Origin) -> str | None:
    """Return the proxy that the environment names for an origin; as the WebSocket's client does."""
    if origin.scheme != "https" or urllib.request.proxy_bypass(origin.host):
        return None
    return urllib.request.getproxies().get("https")


def _told(failed: Exception) -> str:
    return getattr(failed, "strerror", None) or str(failed) or type(failed).__name__
