"""What the tests of webhooks share: an event, a webhook to a receiver, a server that spoils every byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TypedDict, Unpack

from claimbus.cli.demo.receivers import Receiver
from claimbus.cli.demo.receivers.conversation import abort
from claimbus.events.event import Event
from consumers.addresses import AddressGuard
from consumers.signature import new_secret
from consumers.webhook import Answer, Body, Webhook

ANY_PORT = ((1, 65535),)
LOOPBACK = AddressGuard(allow=[ip_network("127.0.0.0/8")], ports=ANY_PORT)

EVENT = Event(
    type="oms.resource-outage.created",
    source="urn:iso:test:oms",
    id="1",
    time=datetime(2024, 1, 1, tzinfo=UTC),
    body=b'{"mw": 12}',
    audience=frozenset({"PGAE", "SCE1"}),
    partitionkey="1001",
    sequence=3,
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Settings(TypedDict, total=False):
    """Those of a webhook."""

    secrets: Sequence[str]
    guard: AddressGuard
    timeout: float
    connect_timeout: float
    concurrency: int
    ca_pem: bytes | None
    identity_pem: bytes | None
    origin: str
    claims_url: str
    idle_timeout: float
    address_life: float


def webhook_to(
    receiver: Receiver, *, host: str | None = None, **settings: Unpack[Settings]
) -> AbstractAsyncContextManager[Webhook]:
    """A webhook to a receiver, with the secrets that this has now; ``host`` names it otherwise."""
    url = receiver.url if host is None else f"https://{host}:{receiver.port}/"
    known: Settings = {"secrets": receiver.secrets, "ca_pem": receiver.ca_pem}
    return webhook(url, **(known | settings))


@asynccontextmanager
async def webhook(url: str, **settings: Unpack[Settings]) -> AsyncIterator[Webhook]:
    """A webhook that is closed at the end."""
    known: Settings = {
        "secrets": [new_secret()],
        "guard": LOOPBACK,
        "timeout": 5.0,
        "connect_timeout": 2.0,
    }
    hook = Webhook(url, **(known | settings))
    try:
        yield hook
    finally:
        await hook.aclose()


async def post(hook: Webhook, event: Event = EVENT, *, body: Body | None = None) -> Answer:
    return await hook.post(event, message_id="evt_1", body=body, attempt=1)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext) -> AsyncIterator[str]:
    """A server that does with each connection what it is told; gives its URL."""
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(converse(reader, writer))
        conversations[task] = writer
        task.add_done_callback(conversations.pop)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/a-secret-path"
    finally:
        server.close()
        left = dict(conversations)
        for task, writer in left.items():
            task.cancel()
            abort(writer)
        await asyncio.gather(*left, return_exceptions=True)


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one request with a content length; give its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return head
