"""One connection of a stream: deliveries in, answers out, and why it ended."""

import logging
import ssl
from contextlib import suppress
from typing import Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)
from websockets.protocol import State
from websockets.typing import Subprotocol

from claimbus.events.errors import ClaimbusError, UnavailableError
from claimbus.events.stream import (
    MAX_FRAME,
    PING_INTERVAL,
    PING_TIMEOUT,
    SUBPROTOCOL,
    Ack,
    CloseCode,
    Delivery,
    MalformedFrameError,
    Nack,
    decode_delivery,
)
from claimbus.subscribers.address import Address, Identity

FINAL: Final = frozenset(
    {
        CloseCode.UNAUTHENTICATED,
        CloseCode.NOT_ENTITLED,
        CloseCode.UNKNOWN,
        CloseCode.NO_STREAM,
        CloseCode.DISABLED,
    }
)
"""Close codes after which asking again would get the same answer."""

_OPEN_TIMEOUT: Final = 20.0
_CLOSE_TIMEOUT: Final = 5.0

# The library's own lines on level DEBUG show frames and headers: bodies and tokens.
_quiet: Final = logging.getLogger("claimbus.subscribers.websockets")
_quiet.setLevel(logging.WARNING)


class StreamLostError(UnavailableError):
    """The connection failed or ended in a way that may pass. ``code`` says how, when the other side did."""

    def __init__(self, reason: str, code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.code = code


class StreamRefusedError(ClaimbusError):
    """The stream will not open as things are.

    ``code`` is the ISO's reason. None: the two sides do not understand or trust each other (TLS, HTTP).
    """

    def __init__(self, reason: str, code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Stream:
    """An open connection; not to be received from by two at once."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, address: Address, identity: Identity) -> Self:
        """Connect. Raises StreamLostError, StreamRefusedError, ConfigurationError for an unusable file."""
        connecting = _Connect(
            str(address),
            ssl=identity.context() if address.secure else None,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=identity.headers(),
            user_agent_header="claimbus",
            compression=None,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            max_size=MAX_FRAME,
            # Room for all that may come: a queue that was full would leave pings unread, too.
            max_queue=address.prefetch,
            logger=_quiet,
        )
        try:
            connection = await connecting
        except (OSError, WebSocketException, ImportError) as failed:  # a SOCKS proxy needs python-socks
            raise _why_not_opened(failed) from failed
        if connection.subprotocol is None:
            await connection.close(CloseCode.MALFORMED)
            raise StreamRefusedError(f"the server does not speak {SUBPROTOCOL}")
        return cls(connection)

    async def receive(self) -> Delivery:
        """Return the next delivery. Cancelling loses none.

        Raises StreamLostError, StreamRefusedError and MalformedFrameError, after which it is closed.
        """
        try:
            frame = await self._connection.recv()
            # What is left of a connection that has ended could not be answered any more.
            while self._connection.state is not State.OPEN:
                frame = await self._connection.recv()
            return decode_delivery(frame)
        except ConnectionClosed as closed:
            raise _why_closed(closed) from closed
        except MalformedFrameError as wrong:
            await self.close(CloseCode.MALFORMED, str(wrong))
            raise

    async def answer(self, answer: Ack | Nack) -> None:
        """Answer a delivery; without effect once the connection has ended: then it comes again anyway."""
        with suppress(ConnectionClosed):
            await self._connection.send(answer.encode())

    async def close(self, code: CloseCode = CloseCode.DONE, reason: str = "") -> None:
        """Close it; everything unanswered goes back to the ISO's queue and counts as no attempt."""
        await self._connection.close(code, reason[:100])


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception:
        """Follow none: our token and certificate are for the server that was named."""
        return exc


def _why_closed(closed: ConnectionClosed) -> StreamLostError | StreamRefusedError:
    if closed.sent is not None and not closed.rcvd_then_sent:
        return StreamLostError(f"we closed it: {closed.sent.reason or closed.sent.code}")
    if closed.rcvd is None:
        return StreamLostError("the connection broke")
    try:
        code = CloseCode(closed.rcvd.code)
    except ValueError:
        return StreamLostError(f"closed by the server with {closed.rcvd.code}")
    return _closed_with(code)


def _closed_with(code: CloseCode) -> StreamLostError | StreamRefusedError:
    kind = StreamRefusedError if code in FINAL else StreamLostError
    return kind(f"{code.meaning} ({code.value})", code)


def _why_not_opened(failed: Exception) -> StreamLostError | StreamRefusedError:
    match failed:
        case InvalidStatus():
            return _why_answered(failed.response.status_code)
        case ssl.SSLCertVerificationError():
            reason = f"the server's certificate is not trusted: {failed.verify_message}"
            return StreamRefusedError(f"{reason}; are the CA file and the host right?")
        case ssl.SSLError() if not isinstance(failed, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            reason = (failed.reason or str(failed)).lower().replace("_", " ")
            return StreamRefusedError(f"no TLS of version 1.2 or newer with the server: {reason}")
        case TimeoutError():
            return StreamLostError(f"no connection within {_OPEN_TIMEOUT:g} s")
        case OSError():
            return StreamLostError(f"no connection: {failed.strerror or type(failed).__name__}")
        case InvalidMessage() if isinstance(failed.__cause__, EOFError):
            # What a server does, too, that does not like our certificate, in TLS 1.3.
            return StreamLostError("the server hung up before it answered; does it know our certificate?")
        case ProxyError():
            return StreamLostError(f"the proxy: {failed}")
        case InvalidHandshake():
            return StreamRefusedError(f"the server does not speak {SUBPROTOCOL}: {failed}")
        case _:
            return StreamRefusedError(str(failed))


def _why_answered(status: int) -> StreamLostError | StreamRefusedError:
    """Judge an HTTP answer in place of a WebSocket: 4xx are the close codes 44xx by another way."""
    try:
        return _closed_with(CloseCode(4000 + status))
    except ValueError:
        pass
    if status >= 500 or status in (408, 425):
        return StreamLostError(f"the server answered HTTP {status}")
    return StreamRefusedError(f"the server answered HTTP {status} instead of opening a stream")
