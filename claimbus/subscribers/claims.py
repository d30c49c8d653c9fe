"""Bodies that are too large for a frame: fetched from the portal by their ``dataref``, with flat memory."""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from claimbus.events.errors import ClaimbusError, ConfigurationError, UnavailableError
from claimbus.subscribers.address import Address, Identity

TRIES: Final = 6
"""Requests in a row that may bring no byte; with the pauses between them half a minute."""

_CONNECT_TIMEOUT: Final = timedelta(seconds=10)
_READ_TIMEOUT: Final = timedelta(seconds=30)
_PAUSE: Final = 0.5
"""Seconds before the second request, doubled before each further one."""
_TRANSIENT: Final = frozenset({408, 425, 429})
_SHA_256: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]+):")
_FROM: Final = re.compile(r"bytes (\d+)-")


class BodyRefusedError(ClaimbusError):
    """A body is not to be had: expired, unknown, not ours, or not what the portal says that it is."""


class BodyUnavailableError(UnavailableError):
    """A body could not be fetched now."""


class Claims:
    """Fetches bodies from one portal, with the same identity as the stream's.

    Raises ConfigurationError for an unusable address.
    """

    def __init__(self, address: Address, identity: Identity) -> None:
        base = urlsplit(address.url)._replace(scheme="https" if address.secure else "http")
        try:
            self._base = Url(base.geturl())
        except ValueError as wrong:
            raise ConfigurationError("url", f"is malformed: {wrong}") from wrong
        self._identity = identity
        self._client: Client | None = None

    async def chunks(self, dataref: str) -> AsyncIterator[bytes]:
        """Give a body's bytes in chunks as they come; they are known to be right once all were given.

        A connection that breaks is resumed where it broke. Raises BodyUnavailableError; and BodyRefusedError,
        at the end too, when the bytes do not have the digest that the portal gave.
        """
        url = self._url(dataref)
        body = _Body()
        failures = 0
        while True:
            had = body.size
            try:
                # No buffer, and whatever has come: bytes that were held back would be lost when it breaks.
                request = self._request(url, had).streamed_read_buffer_limit(0)
                async with request.build_streamed() as response:
                    body.begin(response)
                    while (chunk := await response.body_reader.read_chunk()) is not None:
                        if fresh := body.add(chunk.to_bytes()):
                            yield fresh
                body.check()
            except (PyreqwestError, BodyUnavailableError) as failed:
                self._client = None  # the next one reads the certificates anew
                failures = 1 if body.size > had else failures + 1
                if failures >= TRIES:
                    reason = f"no more than {body.size} bytes of a body came: {_told(failed)}"
                    raise BodyUnavailableError(reason) from failed
                await asyncio.sleep(_PAUSE * 2 ** (failures - 1))
            else:
                return

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def _url(self, dataref: str) -> Url:
        try:
            url = self._base.join(dataref)
        except ValueError as wrong:
            raise BodyRefusedError("the dataref is no URL") from wrong
        if url.scheme not in ("https", self._base.scheme):
            raise BodyRefusedError("the dataref does not lead to https://")
        return url

    def _request(self, url: Url, had: int) -> RequestBuilder:
        if self._client is None:
            self._client = _client(self._identity)
        request = self._client.get(url)
        if url.origin_ascii == self._base.origin_ascii:  # a token is for who we were told to show it to
            request = request.headers(self._identity.headers())
        return request.header("range", f"bytes={had}-") if had else request


class _Body:
    """What has come of a body so far, perhaps over several answers."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._digest: bytes | None = None
        self._skip = 0

    def begin(self, response: Response) -> None:
        """Judge the head of an answer."""
        status = response.status
        if status >= 500 or status in _TRANSIENT:
            raise BodyUnavailableError(f"HTTP {status}")
        if status not in (200, 206):
            raise BodyRefusedError(f"the portal answered HTTP {status} in place of a body")
        digest = _digest(response)
        if self._digest not in (None, digest):
            raise BodyRefusedError("the body changed while it was fetched")
        self._digest = digest
        begins = _FROM.match(_header(response, "content-range")) if status == 206 else None
        self._skip = self.size - (int(begins[1]) if begins else 0)
        if self._skip < 0:
            raise BodyRefusedError("the portal left out bytes of the body")

    def add(self, data: bytes) -> bytes:
        """Return those bytes that have not come before."""
        fresh = data[self._skip :]
        self._skip -= len(data) - len(fresh)
        self._hash.update(fresh)
        self.size += len(fresh)
        return fresh

    def check(self) -> None:
        """Raise BodyRefusedError unless all came as it was."""
        if self._hash.digest() != self._digest:
            raise BodyRefusedError(f"the {self.size} bytes that came do not have the body's digest")


def _client(identity: Identity) -> Client:
    builder = (
        ClientBuilder()
        .follow_redirects(enable=False)
        .min_tls_version("TLSv1.2")
        .connect_timeout(_CONNECT_TIMEOUT)
        .read_timeout(_READ_TIMEOUT)
        .user_agent("claimbus")
        .gzip(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .deflate(enable=False)
    )
    try:
        if identity.ca_file is not None:
            builder = builder.add_root_certificate_pem(identity.ca_file.read_bytes())
        if identity.certificate_file is not None:
            pem = identity.certificate_file.read_bytes()
            if identity.key_file is not None:
                pem += b"\n" + identity.key_file.read_bytes()
            builder = builder.identity_pem(pem)
        return builder.build()
    except (OSError, ValueError, PyreqwestError) as unusable:
        raise BodyUnavailableError(f"no certificate: {_told(unusable)}") from unusable


def _digest(response: Response) -> bytes:
    found = _SHA_256.search(_header(response, "repr-digest"))
    if found is None:
        raise BodyRefusedError("the portal gave no SHA-256 of the body")
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as wrong:
        raise BodyRefusedError("the portal gave a malformed SHA-256 of the body") from wrong


def _header(response: Response, name: str) -> str:
    try:
        return response.get_header(name) or ""
    except ValueError:  # bytes that are no text
        return ""


def _told(failed: Exception) -> str:
    """Return what is at the bottom of a failure; the top repeats the URL."""
    causes = (getattr(failed, "details", None) or {}).get("causes") or ()
    return causes[-1]["message"] if causes else getattr(failed, "message", str(failed))
