"""Receive over a stream: `subscribe` gives deliveries, connecting again for as long as that makes sense."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from claimbus.events.errors import ClaimbusError, ConfigurationError
from claimbus.events.stream import DEFAULT_PREFETCH, MAX_REASON, Ack, CloseCode, MalformedFrameError, Nack
from claimbus.events.stream import Delivery as Frame
from claimbus.subscribers.address import Address, Identity
from claimbus.subscribers.claims import Claims
from claimbus.subscribers.errors import MalformedEventError
from claimbus.subscribers.received import MAX_BODY, Received
from claimbus.subscribers.stream import Stream, StreamLostError, StreamRefusedError

SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before connecting again: the shortest first, doubled each time up to the longest."""
STANDS_AFTER: Final = 2.0
"""Seconds without a refusal after which a stream counts as open; a portal accepts first and then judges."""

_log: Final = logging.getLogger(__name__)


def subscribe(
    url: str,
    endpoint_id: str,
    *,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
    ca_file: Path | None = None,
    token: str | None = None,
    prefetch: int = DEFAULT_PREFETCH,
    max_body: int = MAX_BODY,
) -> "Subscription":
    """Receive the events of a stream endpoint.

    ``url`` is the portal's, ``wss://HOST:PORT``. Files are PEM: our certificate with its chain, its key
    unless that is in the same file, and the authorities that the portal's certificate is checked against, in
    place of the system's. ``token`` is a bearer token, beside a certificate or without one. At most
    ``prefetch`` deliveries come before one is answered. Bodies of more than ``max_body`` bytes are refused.

    ::

        async for delivery in subscribe("wss://bus.iso.example:8443", "ep_1", certificate_file=pem):
            async with delivery as event:
                print(event.type, event.json())

    Raises ConfigurationError for what is unusable.
    """
    identity = Identity(certificate_file=certificate_file, key_file=key_file, ca_file=ca_file, token=token)
    address = Address(url=url, endpoint_id=endpoint_id, prefetch=prefetch)
    return Subscription(address, identity, Claims(address.portal, identity, max_body=max_body))


class Delivery:
    """An event that waits to be answered.

    ``async with`` it: leaving the block acks it; an exception in the block nacks it, so it comes again later,
    and goes on. Deliveries may be handled side by side, in tasks of your own; one that is not answered keeps
    its place of the prefetch. When the connection breaks before the answer is out, the event comes again, of
    the same ``message_id``: dedupe by that. Do not block the event loop for more than some seconds: the
    connection would be taken for dead.
    """

    def __init__(self, event: Received, number: int, stream: Stream, claims: Claims) -> None:
        self.event: Final = event
        self._number = number
        self._stream = stream
        self._claims = claims

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in chunks, wherever it is; memory stays flat, however large it is.

        What was given is known to be right once all was. Raises BodyRefusedError and BodyUnavailableError.
        """
        dataref = self.event.dataref
        return _at_once(self.event.body) if dataref is None else self._claims.chunks(dataref)

    async def __aenter__(self) -> Received:
        return self.event

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._stream.answer(Ack(self._number))
        elif kind is not GeneratorExit:  # in which nothing can be awaited
            await self._stream.answer(Nack(self._number, kind.__name__[:MAX_REASON]))


class Subscription:
    """Deliveries, over as many connections as it takes. To be iterated over once; see `subscribe`.

    The connection is closed when the iteration ends; inside ``async with`` this, at the end of that block, so
    that tasks of your own can answer what they still have. What is not answered by then comes again.

    Iterating raises StreamRefusedError when connecting again would not help, and ConfigurationError for an
    unusable file. What went wrong once after it went well is tried again, with growing pauses.
    """

    def __init__(self, address: Address, identity: Identity, claims: Claims) -> None:
        self._address = address
        self._identity = identity
        self.claims: Final = claims
        """Where large bodies come from."""
        self._stream: Stream | None = None
        self._opened: float | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._failures = 0
        self._kept_open = False
        self._stopping = False
        self._waiting: asyncio.Timeout | None = None

    def stop(self) -> None:
        """End the iteration: at once when it waits, else when the next delivery is asked for."""
        self._stopping = True
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        try:
            while not self._stopping:
                try:
                    async with asyncio.timeout(None) as self._waiting:
                        delivery = await self._next()
                except TimeoutError:  # stopped
                    return
                finally:
                    self._waiting = None
                yield delivery
        finally:
            if not self._kept_open:
                await self._close()

    async def __aenter__(self) -> Self:
        self._kept_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._tell_no_more()
        if self._stream is not None:
            await self._stream.close()
        await self.claims.aclose()

    async def _next(self) -> Delivery:
        while True:
            try:
                stream = self._stream or await self._open()
                frame = await stream.receive()
            except (StreamLostError, StreamRefusedError, MalformedFrameError, ConfigurationError) as ended:
                await self._recover(ended)
                continue
            self._failures = 0
            if self._telling is not None:
                self._tell()
            try:
                event = _event(frame)
            except MalformedEventError as wrong:
                _log.error("%s: no event: %s; it is refused", frame.message_id, wrong)
                await stream.answer(Nack(frame.delivery, type(wrong).__name__))
            else:
                return Delivery(event, frame.delivery, stream, self.claims)

    async def _open(self) -> Stream:
        self._stream = await Stream.open(self._address, self._identity)
        self._opened = time.monotonic()
        self._telling = asyncio.get_running_loop().call_later(STANDS_AFTER, self._tell)
        return self._stream

    def _tell(self) -> None:
        self._tell_no_more()
        _log.info("stream open: %s", self._address)

    def _tell_no_more(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    async def _recover(self, ended: ClaimbusError) -> None:
        self._stream = None
        self._tell_no_more()
        code = getattr(ended, "code", None)
        if self._opened is None:
            final = not isinstance(ended, StreamLostError)
        else:
            final = isinstance(ended, StreamRefusedError) and code is not None
            if time.monotonic() - self._opened > LONGEST_PAUSE:
                self._failures = 0
        if final:
            raise ended
        grown = min(2 * SHORTEST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        pause = LONGEST_PAUSE if code is CloseCode.TOO_MANY else grown
        pause *= random.uniform(0.5, 1)  # noqa: S311 - no secret
        self._failures = min(self._failures + 1, 10)
        _log.warning("no stream: %s; connecting again in %.1f s", ended, pause)
        await asyncio.sleep(pause)


async def _at_once(body: bytes | None) -> AsyncIterator[bytes]:
    yield body or b""


def _event(frame: Frame) -> Received:
    return Received(
        message_id=frame.message_id,
        attributes=frame.event,
        body=frame.body,
        dataref=frame.dataref,
        attempt=frame.attempt,
        replay=frame.replay,
        deprecation=frame.deprecation,
        sunset=frame.sunset,
    )
