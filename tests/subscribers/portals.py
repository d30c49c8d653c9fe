"""The other side of a stream, for tests: keeps a queue, speaks ``claimbus.v1``, does harm on request."""

import asyncio
import hashlib
import json
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from claimbus.events.event import identity
from claimbus.events.stream import MAX_FRAME, SUBPROTOCOL, Ack, Delivery, Nack, decode_answer
from claimbus.events.tls import server_context

ENDPOINT = "ep_1"
SOURCE = "urn:iso:test:oms"


def an_event(number: int, **changes: object) -> Delivery:
    """An outage's status, the number ``number``."""
    name = f"event-{number}"
    attributes = {
        "specversion": "1.0",
        "id": name,
        "source": SOURCE,
        "type": "oms.resource-outage.status-changed",
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
    }
    event = Delivery(
        delivery=1,
        attempt=1,
        message_id=identity(SOURCE, name),
        event=attributes,
        body=json.dumps({"number": number}).encode(),
    )
    return replace(event, **changes)  # type: ignore[arg-type] # checked when it is encoded and read


@dataclass
class Portal:
    """A queue of deliveries, and what became of them.

    ``raw`` is sent before anything else. ``cut_after`` breaks the connection after so many deliveries, in the
    middle of the next one; ``deaf_to`` breaks it in place of hearing so many answers. ``close_with`` closes
    each connection, ``status`` answers it with HTTP, for the next ``times`` connections. ``bodies`` are
    what is given at ``/v1/claims/…``.
    """

    certificates: Path
    port: int = 0
    queue: deque[Delivery] = field(default_factory=deque)
    acked: list[str] = field(default_factory=list)
    nacked: list[tuple[str, str]] = field(default_factory=list)
    raw: list[bytes | str] = field(default_factory=list)
    cut_after: int | None = None
    deaf_to: int = 0
    close_with: int | None = None
    status: int | None = None
    times: int = 1_000_000
    bodies: "Bodies | None" = None
    subprotocols: Sequence[str] = (SUBPROTOCOL,)
    opened: int = 0
    closed_with: list[int | None] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    longest_unanswered: int = 0
    connections: set[ServerConnection] = field(default_factory=set)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        """Listen until the block ends, at the same port as the last time."""
        async with serve(
            self._serve,
            "127.0.0.1",
            self.port,
            ssl=context_of(self.certificates),
            subprotocols=[Subprotocol(name) for name in self.subprotocols] or None,
            process_request=self._judge,
            compression=None,
            max_size=MAX_FRAME,
            close_timeout=10,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield server

    def put(self, *deliveries: Delivery) -> None:
        self.queue.extend(deliveries)
        self._wanted.set()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.bodies is not None and request.path.startswith("/v1/claims/"):
            return self.bodies.response(request.headers.serialize().decode().lower())
        self.requests.append(request)
        if self.status is None or self.times <= 0:
            return None
        self.times -= 1
        answer = connection.respond(self.status, "no\n")
        answer.headers["Location"] = "/elsewhere"
        return answer

    async def _serve(self, connection: ServerConnection) -> None:
        self.opened += 1
        self.connections.add(connection)
        if self.close_with is not None and self.times > 0:
            self.times -= 1
            await connection.close(self.close_with)
            return
        assert connection.request is not None
        prefetch = int(parse_qs(urlsplit(connection.request.path).query)["prefetch"][0])
        unanswered: dict[int, Delivery] = {}
        sending = asyncio.create_task(self._send(connection, prefetch, unanswered))
        with suppress(ConnectionClosed):
            async for frame in connection:
                if self.deaf_to > 0:
                    self.deaf_to -= 1
                    connection.transport.abort()
                    break
                assert isinstance(frame, bytes)
                answer = decode_answer(frame)
                delivery = unanswered.pop(answer.delivery)
                self._answered(delivery, answer)
        sending.cancel()
        self.connections.discard(connection)
        self.queue.extendleft(reversed(unanswered.values()))
        self.closed_with.append(connection.close_code)
        self._wanted.set()

    def _answered(self, delivery: Delivery, answer: Ack | Nack) -> None:
        if isinstance(answer, Ack):
            self.acked.append(delivery.event["id"])
        else:
            self.nacked.append((delivery.event["id"], answer.reason))
            self.queue.append(replace(delivery, attempt=delivery.attempt + 1))
        self._wanted.set()

    async def _send(
        self, connection: ServerConnection, prefetch: int, unanswered: dict[int, Delivery]
    ) -> None:
        for frame in self.raw:
            await connection.send(frame)
        number = 0
        while True:
            while self.queue and len(unanswered) < prefetch:
                number += 1
                delivery = replace(self.queue.popleft(), delivery=number)
                unanswered[number] = delivery
                self.longest_unanswered = max(self.longest_unanswered, len(unanswered))
                frame = delivery.encode()
                if self.cut_after is not None and number > self.cut_after:
                    self.cut_after = None
                    await _cut(connection, frame)
                    return
                await connection.send(frame)
            self._wanted.clear()
            await self._wanted.wait()


async def _cut(connection: ServerConnection, frame: bytes) -> None:
    """Send a part of a frame, and break the connection."""
    connection.protocol.send_binary(frame)
    whole = b"".join(connection.protocol.data_to_send())
    connection.transport.write(whole[: len(whole) // 2])
    await asyncio.sleep(0)
    connection.transport.abort()


@dataclass
class Bodies:
    """Serves one body over HTTPS. Answer by answer, ``breaks`` says after how many bytes it is broken off.

    ``handshakes`` counts connections, ``heads`` holds the requests, in lower case. ``announced`` sends the
    length beforehand, ``keeps`` the connection open; ``silent`` answers nothing; ``unasked`` follows each
    answer.
    """

    certificates: Path
    body: bytes
    breaks: deque[int] = field(default_factory=deque)
    ranges: bool = True
    digest: str | None = "right"
    status: int = 200
    heads: list[str] = field(default_factory=list)
    handshakes: int = 0
    announced: bool = True
    keeps: bool = False
    silent: bool = False
    unasked: bytes = b""
    port: int = 0
    _answering: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/v1/claims/c1"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(
            self._answer, "127.0.0.1", 0, ssl=context_of(self.certificates)
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = asyncio.current_task()
        assert answering is not None
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        self.handshakes += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if self.silent:
                    self.heads.append(head)
                    await reader.read()
                    break
                writer.write(self.response(head).serialize() + self.unasked)
                await writer.drain()
                if not self.keeps:
                    break
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    def response(self, head: str) -> Response:
        self.heads.append(head)
        headers = Headers() if self.keeps else Headers(connection="close")
        if self.status >= 300:
            headers["content-length"] = "0"
            return Response(self.status, "no", headers)
        start = 0
        if self.ranges and "range: bytes=" in head:
            start = int(head.partition("range: bytes=")[2].partition("-")[0])
        if start:
            headers["content-range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        if self.announced:
            headers["content-length"] = str(len(self.body) - start)
        if self.digest is not None:
            of = self.body if self.digest == "right" else self.digest.encode()
            headers["repr-digest"] = f"sha-256=:{b64encode(hashlib.sha256(of).digest()).decode()}:"
        sent = self.body[start:]
        if self.breaks:
            sent = sent[: self.breaks.popleft()]
        return Response(206 if start else 200, "ok", headers, sent)


def context_of(folder: Path, *, client_ca: bool = True) -> ssl.SSLContext:
    return server_context(folder / "server.pem", client_ca_file=folder / "ca.pem" if client_ca else None)


def numbers(names: Sequence[str]) -> list[int]:
    """The numbers of events, by their IDs."""
    return [int(name.removeprefix("event-")) for name in names]
