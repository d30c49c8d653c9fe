"""The network between processes, as faults bend it, on real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.chaos.servers.link import Link
from tests.waiting import eventually, never


class Call(NamedTuple):
    """A connection to a server that says back what it hears."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, words: bytes) -> bytes:
        self.writer.write(words)
        return await self.reader.readexactly(len(words))


class Echo:
    """A server that says back what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""
        self.calls = 0
        self.ended: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        try:
            while words := await reader.read(65536):
                self.heard += words
                writer.write(words)
                await writer.drain()
            self.ended.append("closed")
        except ConnectionResetError:
            self.ended.append("reset")
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Echo"]:
        echo = cls()
        async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
            echo.port = server.sockets[0].getsockname()[1]
            yield echo


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with Echo.open() as echo:
        yield echo


@pytest.fixture
async def link(echo: Echo) -> AsyncIterator[Link]:
    async with Link.open(("127.0.0.1", echo.port)) as link:
        yield link


@asynccontextmanager
async def call(link: Link) -> AsyncIterator[Call]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield Call(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_good_link_carries_everything_in_order_and_both_ends(echo: Echo, link: Link) -> None:
    words = random.Random(1).randbytes(5_000_000)
    async with call(link) as one, call(link) as two:
        assert await two.say(b"hello") == b"hello"
        sending = asyncio.create_task(one.say(words))
        assert await sending == words
        one.writer.write_eof()
        assert await one.reader.read() == b""
        await eventually(lambda: echo.ended == ["closed"])
    await eventually(lambda: not link.ends)
    assert link.accepted == 2


async def test_a_delay_holds_each_direction_and_keeps_the_order(link: Link) -> None:
    async with call(link) as one:
        assert await one.say(b"quick") == b"quick"
        link.delay(0.1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        words = b"".join(b"%06d" % number for number in range(5000))
        for at in range(0, len(words), 6000):
            one.writer.write(words[at : at + 6000])
            await asyncio.sleep(0)
            if at == 12000:
                link.mend()  # what is said now does not overtake
        assert await one.reader.readexactly(len(words)) == words
        assert loop.time() - began >= 0.1  # a bound from below: no machine is too slow for it


async def test_what_is_dropped_never_arrives_and_its_connection_is_reset_at_the_mending(
    echo: Echo, link: Link
) -> None:
    async with call(link) as one, call(link) as idle:
        await one.say(b"before")
        await idle.say(b"-")
        link.drop()
        one.writer.write(b"lost")
        async with call(link) as late:
            late.writer.write(b"lost too")
            await never(lambda: b"lost" in echo.heard, for_=0.2)
            assert not one.reader.at_eof()
            link.mend()
            for bereft in (one, late):
                with pytest.raises(ConnectionResetError):
                    await bereft.reader.readexactly(1)
        assert await idle.say(b"still") == b"still"
    assert echo.calls == 2
    async with call(link) as after:
        assert await after.say(b"after") == b"after"


async def test_a_cut_lets_so_many_bytes_pass_and_resets_everybody(echo: Echo, link: Link) -> None:
    async with call(link) as one, call(link) as two:
        await one.say(b"one")
        await two.say(b"two")
        link.cut(10)
        one.writer.write(b"a frame of 21 bytes!!")
        for cut in (one, two):
            with pytest.raises(ConnectionResetError):
                await cut.reader.readexactly(100)
        await eventually(lambda: echo.ended == ["reset", "reset"])
        assert b"frame of 21" not in echo.heard
    assert not link.injured
    async with call(link) as after:
        assert await after.say(b"a frame of 21 bytes!!") == b"a frame of 21 bytes!!"


async def test_half_open_moves_nothing_and_closes_nothing_and_later_all_goes_on(
    echo: Echo, link: Link
) -> None:
    async with call(link) as one:
        await one.say(b"before")
        link.half_open()
        one.writer.write(b" during")
        one.writer.write_eof()
        async with call(link) as late:
            late.writer.write(b"late")
            await never(lambda: echo.heard != b"before" or echo.ended or one.reader.at_eof(), for_=0.2)
            assert echo.calls == 1
            link.mend()
            assert await one.reader.read() == b" during"
            assert await late.reader.readexactly(4) == b"late"


async def test_a_link_that_leads_nowhere_resets_and_can_be_led_elsewhere(echo: Echo) -> None:
    async with Link.open() as link:
        async with call(link) as one:
            with pytest.raises(ConnectionResetError):
                await one.reader.readexactly(1)
        link.to = ("127.0.0.1", echo.port)
        async with call(link) as one:
            assert await one.say(b"there") == b"there"


async def test_an_end_that_is_gone_ends_the_other(echo: Echo, link: Link) -> None:
    async with call(link) as one:
        await one.say(b"hello")
        one.writer.transport.abort()
        await eventually(lambda: echo.ended)
    await eventually(lambda: not link.ends)
