"""One HTTPS receiver: a port of its own, its behaviours, and what it received."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import h11

from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.cli.demo.receivers.conversation import Conversation, abort
from claimbus.cli.demo.receivers.record import Arrival, Headers, Received

_ACCEPTS: Final = Behaviour(kind="status", status=204)
_DISTRUSTS: Final = Behaviour(kind="status", status=401)
_PERMITS: Final = Behaviour(kind="status", status=200, headers={"webhook-allowed-origin": "*"})


class Receiver:
    """A participant's webhook endpoint, as well or as badly behaved as it is told to be.

    ``secrets`` are those whose signatures it accepts; they may be changed at any time. ``ca_pem`` is what to
    trust when connecting. ``received`` holds every request in order, ``accepted`` counts the connections.

    OPTIONS is apart from that: ``asked`` holds such requests, ``permission`` is how they are answered. They
    are not on record, and no behaviour is done to them but ``down``.
    """

    def __init__(
        self,
        name: str,
        *,
        secrets: Sequence[str],
        ca_pem: bytes,
        tls: ssl.SSLContext,
        host: str,
        port: int,
        elapsed: Callable[[], float],
        write: Callable[[Received], None],
        remember: bool,
    ) -> None:
        """``elapsed``: seconds since the first request to any receiver. ``write`` records a request.

        Without ``remember``, ``received`` stays empty, and so does the memory of a long run.
        """
        self.name = name
        self.secrets = tuple(secrets)
        self.ca_pem = ca_pem
        self.received: list[Received] = []
        self.asked: list[Received] = []
        self.permission = _PERMITS
        self.accepted = 0
        self._tls = tls
        self._elapsed = elapsed
        self._write = write
        self._remember = remember
        self._requests = 0
        self._settling = asyncio.Lock()
        self._behaviours: tuple[Behaviour, ...] = ()
        self._server: asyncio.Server | None = None
        self._conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        # Bound but never listening, it keeps the port from others while the receiver is down.
        self._reserved = _bound(host, port)
        self._host, self.port = self._reserved.getsockname()[:2]

    @property
    def url(self) -> str:
        """Where it receives."""
        return f"https://{self._host}:{self.port}/{self.name}"

    @property
    def listening(self) -> bool:
        """Whether it is up."""
        return self._server is not None

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._conversations)

    async def behave(self, *behaviours: Behaviour) -> None:
        """Behave like this from now on, and no longer as before."""
        self._behaviours = behaviours
        await self.settle()

    async def settle(self) -> None:
        """Listen, or stop listening, as the behaviours want it now."""
        async with self._settling:
            now = self._elapsed()
            down = any(behaviour.kind == "down" and behaviour.during(now) for behaviour in self._behaviours)
            if down and self._server is not None:
                await self._stop()
            elif not down and self._server is None:
                listening = _bound(self._host, self.port)
                self._server = await asyncio.start_server(self._connected, sock=listening, ssl=self._tls)

    async def aclose(self) -> None:
        """Stop listening, cut the connections, give the port back."""
        await self._stop()
        self._reserved.close()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        cut = dict(self._conversations)
        for task, writer in cut.items():
            task.cancel()
            abort(writer)
        await asyncio.gather(*cut, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._conversations[task] = writer
        self.accepted += 1
        task.add_done_callback(self._conversations.pop)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = Conversation(reader, writer)
        try:
            with suppress(OSError, h11.RemoteProtocolError):
                while (received := await conversation.next(self._begin)) is not None:
                    if received.method == "OPTIONS":
                        self.asked.append(received)
                        await conversation.answer(self.permission)
                        continue
                    delay, behaviour = self._plan(received)
                    self._note(received, delay, behaviour)
                    await asyncio.sleep(delay)
                    await conversation.answer(behaviour)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _begin(self, method: str, target: str, headers: Headers) -> Arrival:
        return Arrival(self.name, self.secrets, method, target, headers)

    def _plan(self, received: Received) -> tuple[float, Behaviour]:
        """Return the delay of the answer in seconds, and what says how to answer."""
        self._requests += 1
        now, delay = self._elapsed(), 0.0
        if not received.verified:
            return delay, _DISTRUSTS
        for behaviour in self._behaviours:
            if behaviour.kind == "down" or not behaviour.concerns(received, self._requests, now):
                continue
            if behaviour.kind != "slow":
                return delay, behaviour
            delay += behaviour.seconds
        return delay, _ACCEPTS

    def _note(self, received: Received, delay: float, behaviour: Behaviour) -> None:
        answered = str(behaviour.status) if behaviour.kind == "status" else behaviour.kind
        received = replace(received, answered=answered, delay=delay)
        if self._remember:
            self.received.append(received)
        self._write(received)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound
