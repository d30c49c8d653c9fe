"""The webhook receiver's server: one address, HTTPS, until told to stop."""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvicorn

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers.asgi import Answer, App, Receive, Scope, Send
from claimbus.subscribers.certificate import Certificate
from claimbus.subscribers.deadlines import HttpProtocol
from claimbus.subscribers.room import Peers, Place, Room, peer_of

MAX_CONNECTIONS: Final = 512
"""Open at a time, those in their handshake among them; see `Room` for who gives way to further ones."""


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 404: the application behind the webhooks where there is nothing else."""
    await Answer(404).send(send)


class Listener:
    """An address with a certificate, which may be renewed in its files at any time.

    Without a certificate it speaks plain HTTP, which only a loopback address may. With ``client_ca_file``
    clients must show a certificate of those authorities. ``peers`` are who need not give way to strangers.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        certificate_file: Path | None,
        key_file: Path | None = None,
        client_ca_file: Path | None = None,
        peers: Peers | None = None,
    ) -> None:
        """Listen; port 0 takes a free one. Raises ConfigurationError naming the argument at fault."""
        self._certificate = None
        if certificate_file is not None:
            self._certificate = Certificate(certificate_file, key_file, client_ca=client_ca_file)
        self._socket = _Door(_bound(host, port), Room(MAX_CONNECTIONS, peers or Peers()))
        address, number = self._socket.getsockname()[:2]
        if self._certificate is None and not ipaddress.ip_address(address).is_loopback:
            self._socket.close()
            raise ConfigurationError(
                "listen", f"{address} can be reached from outside: plain HTTP will not do"
            )
        name = f"[{address}]" if ":" in address else address
        self.url: Final = f"{'https' if self._certificate else 'http'}://{name}:{number}/"

    async def serve(self, app: App, stop: asyncio.Event) -> None:
        """Serve an ASGI application until ``stop`` is set and the requests that there are are answered."""
        shown = self._certificate
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS if sys.platform == "win32" else None,  # which has another door
            ssl_context_factory=None if shown is None else lambda _config, _default: shown.context,
        )
        server = _Server(config)
        renewal = asyncio.create_task(shown.renew()) if shown else None
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in filter(None, (renewal, stopped)):
                task.cancel()
            server.should_exit = True
            await serving

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs it; uvicorn would raise them once more at the end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Door(socket.socket):
    """A listening socket with room for so many; asyncio calls `accept` of it, but on Windows."""

    def __init__(self, listening: socket.socket, room: Room) -> None:
        super().__init__(listening.family, listening.type, listening.proto, listening.detach())
        self._room = room

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        guest = _Guest(accepted, peer_of(str(address[0])), self._room)
        if not self._room.take(guest.place, 1):
            guest.close()
            raise ConnectionAbortedError("there is no room")
        return guest, address


class _Guest(socket.socket):
    """A connection, which leaves its room when it is closed."""

    def __init__(self, accepted: socket.socket, peer: str, room: Room) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.place: Final = Place(peer, self._drop)
        self._room = room

    def close(self) -> None:
        self._room.leave(self.place)
        super().close()

    def _drop(self) -> None:
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)  # whoever reads from it finds its end, and closes it


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as wrong:
        raise ConfigurationError("listen", f"{host}:{port}: {wrong}") from wrong
