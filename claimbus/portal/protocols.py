"""uvicorn's protocols, handing the client's certificate to the application, which uvicorn does not.

The scope has it as in the ASGI TLS extension, ``extensions.tls.client_cert_chain``: PEM, the client's own
certificate first. All of it was verified in the handshake.
"""

import asyncio
import ssl
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from claimbus.subscribers import deadlines


class HttpProtocol(deadlines.HttpProtocol):
    """HTTP/1.1."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin, after the handshake."""
        super().connection_made(transport)
        self.app = _telling(transport, self.app)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets; a connection comes from `HttpProtocol`, when it is upgraded."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, after the upgrade."""
        super().connection_made(transport)
        self.app = _telling(transport, self.app)

    def keepalive_timeout(self) -> None:
        """Give up on a client that answers no ping: it would not answer the end of TLS either, for 30 s."""
        super().keepalive_timeout()
        self.transport.abort()


def _telling(transport: asyncio.BaseTransport, app: Any) -> Any:  # noqa: ANN401 - uvicorn's ASGI types differ
    """Return the application, told of this connection's client certificate in each scope, if there is one."""
    chain = _chain(transport.get_extra_info("ssl_object"))
    if not chain:
        return app
    inner: ASGIApp = app

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})["tls"] = {"client_cert_chain": chain}
        await inner(scope, receive, send)

    return told


def _chain(tls: ssl.SSLObject | None) -> tuple[str, ...]:
    own = tls and tls.getpeercert(binary_form=True)
    if tls is None or not own:
        return ()
    if hasattr(tls, "get_verified_chain"):  # Python 3.13
        verified = list(tls.get_verified_chain())
    else:
        found = tls._sslobj.get_verified_chain()  # type: ignore[attr-defined]  # noqa: SLF001 - public in 3.13
        verified = [one.public_bytes(_DER) for one in found or ()]
    return tuple(ssl.DER_cert_to_PEM_cert(one) for one in verified or [own])


_DER = 2
"""``_ssl.ENCODING_DER``."""
