"""The portal's listener: TLS with client certificates from whoever has one, and a quiet end."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI

from claimbus.events import stream
from claimbus.events.errors import ConfigurationError, UnavailableError
from claimbus.events.tls import server_context
from claimbus.portal.app import create_app
from claimbus.portal.protocols import HttpProtocol, WebSocketProtocol
from claimbus.portal.services import Services
from claimbus.portal.trust import Trust

GRACE: Final = timedelta(seconds=30)

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's head; ``Client-Cert-Chain`` needs more than the usual 16 KiB."""

MAX_ANSWER: Final = 64 * 1024
"""Bytes of a WebSocket message from a client: an ack or a nack."""

_log = structlog.get_logger("claimbus.portal.serve")


async def serve(
    services: Services,
    *,
    listen: str,
    certificate_file: Path | None,
    key_file: Path | None = None,
    stop: asyncio.Event,
    ready: Callable[[str], None] = lambda _: None,
    grace: timedelta = GRACE,
) -> None:
    """Serve at ``listen`` (host:port) until ``stop``; then finish what is under way, within ``grace``.

    ``ready`` is called with the URL once requests are answered. Without a certificate it listens on loopback
    only. Raises ConfigurationError naming the setting at fault, and UnavailableError.
    """
    await services.trust.refresh()
    with _listening(listen, secured=certificate_file is not None) as listener:
        context = None
        if certificate_file is not None:
            context = _Contexts(services.trust, certificate_file, key_file).listening
        app = create_app(services)
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MAX_ANSWER,
            ws_ping_interval=stream.PING_INTERVAL,
            ws_ping_timeout=stream.PING_TIMEOUT,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=MAX_HEAD,
            ssl_context_factory=None if context is None else lambda _, __: context,
            headers=[] if context is None else [("strict-transport-security", "max-age=31536000")],
            server_header=False,
            proxy_headers=False,
            access_log=False,
            log_config=None,
            log_level="warning",
            lifespan="on",
            timeout_graceful_shutdown=5,
        )
        host, port = listener.getsockname()[:2]
        url = f"{'http' if context is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
        server = _Server(app, config, grace=grace, ready=lambda: ready(url))
        stopping = asyncio.create_task(server.stop_when(stop))
        try:
            await server.serve(sockets=[listener])
        finally:
            stopping.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to the command, and lets streams end by themselves before uvicorn cuts them off."""

    def __init__(
        self, app: FastAPI, config: uvicorn.Config, *, grace: timedelta, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._grace = grace.total_seconds()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; it is ready once the application is, and not before. Raises why that could not begin."""
        with suppress(SystemExit):  # uvicorn's way to tell
            await super().startup(sockets)
        if not self.started:
            raise self._app.state.failed or UnavailableError("the portal could not begin")
        self._ready()

    async def stop_when(self, stop: asyncio.Event) -> None:
        """Begin the end once the event is set."""
        await stop.wait()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, tell the streams, wait for what is under way, then close all connections."""
        for server in self.servers:
            server.close()
        services: Services = self._app.state.services
        services.stopping.set()
        if under_way := set(self.server_state.tasks):
            await asyncio.wait(under_way, timeout=self._grace)
        await super().shutdown(sockets)


class _Contexts:
    """TLS contexts as the authorities and our own certificate change, one handshake to the next.

    An OpenSSL context can be given authorities but not rid of them. So each handshake is handed on, at its
    first message, to a context that has just those that count now. Connections that stand are left alone.
    """

    def __init__(self, trust: Trust, certificate_file: Path, key_file: Path | None) -> None:
        self._trust = trust
        self._certificate_file = certificate_file
        self._key_file = key_file
        try:
            self.listening = server_context(certificate_file, key_file, client_authorities=())
        except ConfigurationError as wrong:
            raise ConfigurationError(f"portal_{wrong.field}", wrong.reason) from wrong
        self._context = self.listening
        self._made_of: object = None
        self.listening.sni_callback = self._hand_on

    def _hand_on(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        try:
            self._renew()
        except (ConfigurationError, OSError) as unusable:
            _log.warning("certificate not renewed", reason=str(unusable), next="use the one of before")
        tls.context = self._context

    def _renew(self) -> None:
        counting = self._trust.authorities(datetime.now(UTC))
        files = [file for file in (self._certificate_file, self._key_file) if file is not None]
        made_of = counting, [file.stat().st_mtime_ns for file in files]
        if made_of != self._made_of:
            self._context = server_context(
                self._certificate_file, self._key_file, client_authorities=[one.pem for one in counting]
            )
            self._made_of = made_of


@contextmanager
def _listening(listen: str, *, secured: bool) -> Iterator[socket.socket]:
    try:
        parts = urlsplit(f"//{listen}")
        host, port = parts.hostname or "", parts.port
    except ValueError as wrong:
        raise ConfigurationError("portal_listen", f"{listen!r} is not of the form host:port") from wrong
    if port is None or parts.path:
        raise ConfigurationError("portal_listen", f"{listen!r} is not of the form host:port")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not secured and not ip_address(address[0]).is_loopback:
            raise ConfigurationError(
                "portal_certificate_file",
                f"must be set: without TLS nobody listens at {listen}, but on loopback",
            )
        listener = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as wrong:
        raise ConfigurationError("portal_listen", f"{listen}: {wrong}") from wrong
    with listener:
        # Connections inherit it. asyncio sets it only on sockets made with their protocol named; without it
        # a head and its body, sent one after the other, are 40 ms apart.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener
