"""A server in the participant's own network, to which events are forwarded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from claimbus.events.tls import server_context


@dataclass
class Inner:
    """What it got, and how it answers."""

    url: str
    ca_pem: bytes
    requests: list[tuple[dict[str, str], bytes]]
    status: int = 204


@asynccontextmanager
async def serving(certificates: Path) -> AsyncIterator[Inner]:
    """A server that runs until the block ends."""
    inner = Inner("", (certificates / "ca.pem").read_bytes(), [])

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(one.split(": ", 1) for one in head.split("\r\n")[1:-2])
        inner.requests.append((headers, await reader.readexactly(int(headers["content-length"]))))
        answer = f"HTTP/1.1 {inner.status} X\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(answer.encode())
        writer.close()
        await writer.wait_closed()

    tls = server_context(certificates / "server.pem")
    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls)
    inner.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/in?token=secret"
    async with server:
        yield inner
