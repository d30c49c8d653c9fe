"""``--forward``: each event posted on to a server in the participant's own network."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import IO, Final

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers.binding import request_of
from claimbus.subscribers.errors import SinkError
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Done, Sink

_PIECE: Final = 256 * 1024
"""Bytes of a file that are sent at a time."""


class ForwardSink(Sink):
    """At least once: after a kill the event in work comes again.

    It posts what arrived, with the original headers (``ce-…``, ``webhook-…``, ``claimbus-…``), so the server
    may verify the signature again. A body that was fetched goes with its event's attributes, and without the
    signature, which did not cover it. Any 2xx means taken; redirects are not followed, no proxy is used.
    """

    def __init__(self, url: str, *, timeout: float, ca_pem: bytes | None = None) -> None:
        """``timeout`` in seconds, of a request. ``ca_pem``: authorities trusted besides the system's.

        Raises ConfigurationError for an unusable URL or certificate.
        """
        try:
            self._url = Url(url)
        except ValueError as wrong:
            raise ConfigurationError("forward", f"is no URL: {wrong}") from wrong
        if self._url.scheme not in ("http", "https"):
            raise ConfigurationError("forward", "must begin with http:// or https://")
        self._client = _client(timeout, ca_pem)

    async def take(self, event: Received, done: Done) -> None:
        """Post the event."""
        posted = request_of(event)
        request = self._client.post(self._url).headers(posted.headers)
        if event.file is None:
            request = request.body_bytes(posted.body)
        else:
            size = os.fstat(event.file.fileno()).st_size
            request = request.header("content-length", str(size)).body_stream(_pieces(event.file))
        try:
            # The status is all that counts: whatever body follows stays unread.
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                status = response.status
        except PyreqwestError as failed:
            raise SinkError(f"forward: {_reason(failed)}") from failed
        if not 200 <= status < 300:
            raise SinkError(f"forward: HTTP {status}")
        await done()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def _client(timeout: float, ca_pem: bytes | None) -> Client:
    builder = (
        ClientBuilder()
        .no_proxy()
        .follow_redirects(enable=False)
        .min_tls_version("TLSv1.2")
        .timeout(timedelta(seconds=timeout))
        .http1_lower_case_headers()
        .user_agent("claimbus")
    )
    try:
        if ca_pem is not None:
            builder = builder.add_root_certificate_pem(ca_pem)
        return builder.build()
    except PyreqwestError as unusable:
        raise ConfigurationError("forward_ca", str(unusable)) from unusable


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece


def _reason(failed: PyreqwestError) -> str:
    """Return the last cause; the first names the URL, which may hold a token."""
    causes = [cause["message"] for cause in (getattr(failed, "details", None) or {}).get("causes") or ()]
    return causes[-1] if len(causes) > 1 else failed.message
