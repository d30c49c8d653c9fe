"""A TCP proxy before RabbitMQ, for a network that falls silent or refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.Event] = {}
        self.url = ""
        self.accepted = 0

    def mute(self) -> None:
        """Keep back what RabbitMQ says on the connections that exist; later ones are heard."""
        for heard in self._connections.values():
            heard.clear()

    async def refuse(self) -> None:
        """End all connections and take no more."""
        assert self._server is not None
        self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        heard = asyncio.Event()
        heard.set()
        task = asyncio.create_task(self._serve(reader, writer, heard))
        self._connections[task] = heard
        task.add_done_callback(self._connections.pop)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: asyncio.Event
    ) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        pumps = [
            asyncio.create_task(_pump(reader, there_writer, None)),
            asyncio.create_task(_pump(there_reader, writer, heard)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for end in (writer, there_writer):
                end.close()
            await asyncio.gather(writer.wait_closed(), there_writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.refuse()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, heard: asyncio.Event | None
) -> None:
    while data := await source.read(65536):
        if heard is not None:
            await heard.wait()
        sink.write(data)
        await sink.drain()
