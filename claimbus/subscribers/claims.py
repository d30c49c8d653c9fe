"""Bodies that did not come with their events: fetched by their ``dataref``, with flat memory."""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers.address import Identity, origin_of, portal_origin
from claimbus.subscribers.connection import Answer, Connection, ConnectionLostError
from claimbus.subscribers.errors import BodyRefusedError, BodyUnavailableError
from claimbus.subscribers.received import MAX_BODY

TRIES: Final = 6
"""Requests in a row that may bring no byte; with the pauses between them half a minute."""

_PAUSE: Final = 0.5
"""Seconds before the second request, doubled before each further one."""
_TRANSIENT: Final = frozenset({408, 425, 429})
_SHA_256: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]+):")
_RANGE: Final = re.compile(r"bytes (\d{1,15})-\d+/")
_TARGET: Final = re.compile(r"/[!-~]*")


class Claims:
    """Fetches bodies from one portal, with the same identity and the same trust as the stream's.

    A ``dataref`` that leads to anybody else is refused: our certificate and token are for the portal alone.
    """

    def __init__(self, portal: str, identity: Identity, *, max_body: int = MAX_BODY) -> None:
        """``portal`` is ``https://HOST:PORT``; larger bodies than ``max_body`` bytes are refused.

        Raises ConfigurationError for an unusable URL.
        """
        self._origin = portal_origin(portal)
        self._base = portal
        self._identity = identity
        self._max_body = max_body
        self._idle: Connection | None = None

    async def chunks(self, dataref: str) -> AsyncGenerator[bytes, None]:
        """Give a body's bytes in chunks as they come; they are known to be right once all were given.

        A connection that breaks is resumed where it broke. Raises BodyUnavailableError; and BodyRefusedError,
        at the end too, when the bytes do not have the digest that the portal gave.
        """
        target = self._target(dataref)
        body = _Body(self._max_body)
        failures = 0
        while True:
            had = body.size
            try:
                connection = await self._connection()
                try:
                    body.begin(await connection.ask("GET", self._origin, target, self._headers(had)))
                    while data := await connection.read():
                        if fresh := body.add(data):
                            yield fresh
                except BaseException:
                    connection.abort()
                    raise
                await self._keep(connection)
                body.check()
            except (ConnectionLostError, ConfigurationError, BodyUnavailableError) as failed:
                failures = 1 if body.size > had else failures + 1
                if failures >= TRIES:
                    reason = f"no more than {body.size} bytes of a body came: {failed}"
                    raise BodyUnavailableError(reason) from failed
                await asyncio.sleep(_PAUSE * 2 ** (failures - 1))
            else:
                return

    async def aclose(self) -> None:
        """Close the connection, if one is open."""
        idle, self._idle = self._idle, None
        if idle is not None:
            await idle.aclose()

    def _target(self, dataref: str) -> str:
        try:
            url = urljoin(self._base, dataref)
            origin, parts = origin_of(url), urlsplit(url)
        except ValueError as wrong:
            raise BodyRefusedError(f"the dataref leads nowhere: {wrong}") from wrong
        if origin != self._origin:
            reason = f"the dataref leads to {origin}, and what we show is for {self._origin} alone"
            raise BodyRefusedError(reason)
        target = parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl()
        if not _TARGET.fullmatch(target):
            raise BodyRefusedError("the dataref is no URL: it has a blank or a letter beyond ASCII")
        return target

    def _headers(self, had: int) -> Mapping[str, str]:
        asked = self._identity.headers()
        return {**asked, "range": f"bytes={had}-"} if had else asked

    async def _connection(self) -> Connection:
        """Return the connection of the last body, or a new one, for which certificates are read anew."""
        idle, self._idle = self._idle, None
        if idle is not None:
            if idle.reuse():
                return idle
            await idle.aclose()
        return await Connection.open(self._origin, self._identity)

    async def _keep(self, connection: Connection) -> None:
        if self._idle is None:
            self._idle = connection
        else:  # of two bodies that were fetched at a time
            await connection.aclose()


class _Body:
    """What has come of a body so far, perhaps over several answers."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most
        self._hash = hashlib.sha256()
        self._digest: bytes | None = None
        self._skip = 0

    def begin(self, answer: Answer) -> None:
        """Judge the head of an answer."""
        if answer.status >= 500 or answer.status in _TRANSIENT:
            raise BodyUnavailableError(f"HTTP {answer.status}")
        if answer.status not in (200, 206):
            raise BodyRefusedError(f"the portal answered HTTP {answer.status} in place of a body")
        digest = _digest(answer.headers.get("repr-digest", ""))
        if self._digest not in (None, digest):
            raise BodyRefusedError("the body changed while it was fetched")
        self._digest = digest
        begins = _RANGE.match(answer.headers.get("content-range", "")) if answer.status == 206 else None
        start = int(begins[1]) if begins else 0
        self._bound(start + int(answer.headers.get("content-length", "0")))
        self._skip = self.size - start
        if self._skip < 0:
            raise BodyRefusedError("the portal left out bytes of the body")

    def add(self, data: bytes) -> bytes:
        """Return those bytes that have not come before."""
        fresh = data[self._skip :]
        self._skip -= len(data) - len(fresh)
        self._bound(self.size + len(fresh))
        self._hash.update(fresh)
        self.size += len(fresh)
        return fresh

    def check(self) -> None:
        """Raise BodyRefusedError unless all came as it was."""
        if self._hash.digest() != self._digest:
            raise BodyRefusedError(f"the {self.size} bytes that came do not have the body's digest")

    def _bound(self, size: int) -> None:
        if size > self._most:
            raise BodyRefusedError(f"the body has more than {self._most} bytes; --max-body says how many may")


def _digest(text: str) -> bytes:
    found = _SHA_256.search(text)
    if found is None:
        raise BodyRefusedError("the portal gave no SHA-256 of the body")
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as wrong:
        raise BodyRefusedError("the portal gave a malformed SHA-256 of the body") from wrong
