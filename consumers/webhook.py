"""The outgoing webhook of one endpoint: an event as a signed HTTPS POST, and how it was answered.

Binary mode sends the body as it is; claim mode sends no data but the ``dataref`` where the participant
fetches it. Signed by Standard Webhooks. TLS 1.2 or newer, certificates always verified, redirects never
followed, no proxy, no compression, and only addresses that the guard let through.
"""

import ssl
import time
from collections.abc import AsyncIterable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from pyreqwest.client import Client
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from claimbus.database.receiver_certificates import Certificate
from claimbus.events.errors import ConfigurationError, InvalidInputError
from claimbus.events.event import Event
from claimbus.events.tls import looking_context
from consumers.addresses import AddressGuard, RefusedAddressError, UnresolvedHostError
from consumers.answer import Answer, Failure, failure_of, one_line, retry_after_of
from consumers.binding import STRUCTURED, EventHeaders, claim_body, event_headers, retirement_headers
from consumers.client import pinned_to
from consumers.handshake import shown_at
from consumers.identity import Identity
from consumers.pinned import ADDRESS_LIFE, PinnedClient
from consumers.signature import Signer

__all__ = ["Answer", "Body", "EventHeaders", "Webhook", "check_url", "event_headers"]

Body = bytes | Callable[[], AsyncIterable[bytes]]
"""A body; or for a large one what gives its chunks anew at each call, once to sign and once to send."""

HEAD: Final = 2048
"""Bytes of an answer's body that are kept. A longer one costs its connection, never memory."""

IDLE: Final = 4.0
"""Seconds after which an unused connection is closed, before common servers do it (Node.js, uvicorn: 5).
A request that meets the server's close on its way fails, and nobody knows whether it was handled."""

SLOWEST_UPLOAD: Final = 1024 * 1024
"""Bytes a second at which a streamed body must be taken; the time for it comes on top of the timeout."""


ORIGIN: Final = "claimbus"


def check_url(url: str, *, allow_http: bool = False) -> Url:
    """Parse an endpoint's URL as the HTTP client will. Raises InvalidInputError when it is unusable."""
    try:
        parsed = Url(url)
    except ValueError as wrong:
        raise InvalidInputError("url", f"is malformed: {wrong}") from wrong
    if parsed.scheme != "https" and not (allow_http and parsed.scheme == "http"):
        raise InvalidInputError("url", "must begin with https://")
    if parsed.username or parsed.password:
        raise InvalidInputError("url", "must hold no user name or password")
    return parsed


class Webhook:
    """Posts events to one endpoint. Its client is made by `prepare` or the first post, connections by posts.

    ``secrets``: those valid now, as ``whsec_…``. ``timeout`` bounds an attempt from connecting to the end of
    the answer; ``connect_timeout`` each of resolving, waiting for a free connection, and connecting with TLS;
    both in seconds. ``concurrency`` bounds the connections. ``ca_pem``: root certificates trusted besides the
    system's. ``identity_pem``: the certificate and key with which we identify ourselves; while they cannot be
    used, nothing is sent. ``looking``: a `looking_context` that shows them too, for `certificate`.
    ``origin``: the name by which receivers know us, as CloudEvents wants it to be in each request.
    ``claims_url``: what a claim ID is appended to in claim mode.

    Raises InvalidInputError for an unusable URL or secret.
    """

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[str],
        guard: AddressGuard,
        timeout: float = 10.0,
        connect_timeout: float = 5.0,
        concurrency: int = 8,
        ca_pem: bytes | None = None,
        identity_pem: bytes | None = None,
        looking: ssl.SSLContext | None = None,
        allow_http: bool = False,
        origin: str = ORIGIN,
        claims_url: str = "/v1/claims/",
        user_agent: str = "claimbus",
        idle_timeout: float = IDLE,
        address_life: float = ADDRESS_LIFE,
    ) -> None:
        self._url = check_url(url, allow_http=allow_http)
        self.origin = origin
        self._signer = Signer(secrets)
        self._identity = None if identity_pem is None else Identity(identity_pem)
        self._looking = looking
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._claims_url = claims_url
        host, port = self._url.host_str or "", self._url.port_or_known_default or 0

        build = partial(
            pinned_to,
            host,
            port,
            timeout=timeout,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            concurrency=concurrency,
            ca_pem=ca_pem,
            identity_pem=identity_pem,
            allow_http=allow_http,
            origin=origin,
            user_agent=user_agent,
        )
        self._client = PinnedClient(
            host, port, build, guard, resolve_timeout=connect_timeout, address_life=address_life
        )

    async def prepare(self) -> None:
        """Make the client, so that the first post need not wait for it; what forbids that, the post says."""
        await self._reach(time.monotonic())

    async def post(
        self,
        event: Event,
        *,
        message_id: str,
        attempt: int,
        replay: str | None = None,
        body: Body | None = None,
        headers: EventHeaders | None = None,
    ) -> Answer:
        """Post an event in binary mode, once. Never raises for what the other side does.

        ``attempt`` counts from 1. ``body`` when it is not the event's own, ``headers`` when `event_headers`
        has been called already. What a body's chunks raise while they are read goes through.
        """
        return await self._post(
            event_headers(event) if headers is None else headers,
            event.body if body is None else body,
            message_id=message_id,
            attempt=attempt,
            replay=replay,
        )

    async def post_claim(
        self,
        event: Event,
        *,
        claim_id: str,
        message_id: str,
        attempt: int,
        replay: str | None = None,
        deprecation: datetime | None = None,
        sunset: datetime | None = None,
    ) -> Answer:
        """As `post`, in claim mode."""
        return await self._post(
            {"content-type": STRUCTURED} | retirement_headers(deprecation, sunset),
            claim_body(event, self._claims_url + claim_id),
            message_id=message_id,
            attempt=attempt,
            replay=replay,
        )

    async def ask(
        self, headers: Mapping[str, str], *, hear: Collection[str]
    ) -> tuple[Answer, Mapping[str, str]]:
        """Ask by OPTIONS what the receiver is ready to take; nothing is signed, no event is sent.

        The answer comes with those of its headers that are in ``hear``, in lower case. Never raises for what
        the other side does.
        """
        began = time.monotonic()
        client = await self._reach(began)
        if isinstance(client, Answer):
            return client, {}
        return await self._exchange(
            client, client.request("OPTIONS", self._url).headers(headers), began, hear
        )

    async def certificate(self) -> Certificate | None:
        """Look at the certificate that is shown where a post would go, over a connection of its own.

        None: there is no TLS, or none is shown in time. Never raises for what the other side does.
        """
        if self._url.scheme != "https" or isinstance(await self._reach(time.monotonic()), Answer):
            return None
        return await shown_at(
            self._client.address,
            self._url.port_or_known_default or 0,
            name=(self._url.host_str or "").strip("[]").rstrip("."),
            tls=self._looking or looking_context(),
            within=self._connect_timeout,
        )

    async def aclose(self) -> None:
        """Close the connections; a post that is under way ends with the failure ``closed``."""
        await self._client.aclose()

    async def _post(
        self, headers: EventHeaders, body: Body, *, message_id: str, attempt: int, replay: str | None
    ) -> Answer:
        began = time.monotonic()
        client = await self._reach(began)
        if isinstance(client, Answer):
            return client
        request = client.post(self._url).headers(headers).header("claimbus-attempt", str(attempt))
        if replay is not None:
            request = request.header("claimbus-replay", replay)
        answer, _ = await self._exchange(client, await self._signed(request, message_id, body), began)
        return answer

    async def _reach(self, began: float) -> Client | Answer:
        """Return the client, on a permitted address and with our identity; an answer when there is none."""
        try:
            if self._identity is not None:
                self._identity.check()
            return await self._client.get()
        except RefusedAddressError as refused:
            return _failed("refused-address", refused.reason, began)
        except UnresolvedHostError as unknown:
            return _failed("dns", str(unknown), began)
        except ConfigurationError as unusable:
            return _failed("configuration", str(unusable), began)

    async def _exchange(
        self, client: Client, request: RequestBuilder, began: float, hear: Collection[str] = ()
    ) -> tuple[Answer, Mapping[str, str]]:
        try:
            # The limit of 0 gives the status before the body is read, so a broken body does not hide it.
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                said = {name: value for name in hear if (value := _header(response, name)) is not None}
                return await _answered(response, began), said
        except PyreqwestError as error:
            failure, detail = failure_of(error)
            if failure in ("connect", "tls"):
                self._client.doubt(client)
            return _failed(failure, detail, began), {}

    async def _signed(self, request: RequestBuilder, message_id: str, body: Body) -> RequestBuilder:
        timestamp = int(time.time())
        if isinstance(body, bytes):
            signature = self._signer.sign(message_id, timestamp, body)
            request = request.body_bytes(body)
        else:
            signature, size = await self._signer.sign_stream(message_id, timestamp, body())
            request = (
                request.body_stream(body())
                .header("content-length", str(size))
                .timeout(timedelta(seconds=self._timeout + size / SLOWEST_UPLOAD))
            )
        return request.headers(
            {
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature,
            }
        )


async def _answered(response: Response, began: float) -> Answer:
    head = None
    if response.status != 204 and response.get_header("content-length") != "0":  # a look less across threads
        with suppress(PyreqwestError):
            head = await response.body_reader.read(HEAD)
    return Answer(
        status=response.status,
        failure=None,
        duration_ms=_since(began),
        detail=f"HTTP {response.status}",
        retry_after=retry_after_of(_header(response, "retry-after")) if response.status >= 300 else None,
        head=b"" if head is None else head.to_bytes(),
    )


def _header(response: Response, name: str) -> str | None:
    try:
        return response.get_header(name)
    except ValueError:  # bytes that are no text
        return None


def _failed(failure: Failure, detail: str, began: float) -> Answer:
    return Answer(
        status=None, failure=failure, duration_ms=_since(began), detail=one_line(f"{failure}: {detail}")
    )


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
