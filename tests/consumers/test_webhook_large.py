"""Large bodies and large answers pass through with flat memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from claimbus.cli.demo.receivers import Behaviour, Receivers
from consumers.webhook import HEAD
from tests.consumers.webhooks import post, webhook_to
from tests.waiting import eventually

MIB = 1024 * 1024


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


@asynccontextmanager
async def watching_memory() -> AsyncIterator[Callable[[], int]]:
    """Gives what this process, sender and receiver together, took more than at the start, at its worst."""
    process = psutil.Process()
    start = worst = process.memory_info().rss

    async def watch() -> None:
        nonlocal worst
        while True:
            worst = max(worst, process.memory_info().rss)
            await asyncio.sleep(0.005)

    watcher = asyncio.create_task(watch())
    yield lambda: worst - start
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)


class Source:
    """A body of many chunks, which counts how often it is read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.passes = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        self.passes += 1
        for number in range(self.size // MIB):
            yield number.to_bytes(4) * (MIB // 4)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for number in range(self.size // MIB):
            digest.update(number.to_bytes(4) * (MIB // 4))
        return digest.hexdigest()


async def test_a_large_body_is_streamed_and_signed_with_flat_memory(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    source = Source(64 * MIB)
    async with webhook_to(receiver) as hook:
        await post(hook)
        async with watching_memory() as growth:
            answer = await post(hook, body=source)
            assert growth() < 24 * MIB
    got = receiver.received[1]
    assert answer.status == 204
    assert got.verified
    assert (got.size, got.sha256) == (source.size, source.sha256())
    assert got.header("content-length") == str(source.size)
    assert got.header("transfer-encoding") is None
    assert source.passes == 2


async def test_a_large_body_gets_more_time_than_the_timeout(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="slow", seconds=3.0))
    async with webhook_to(receiver, timeout=2.0) as hook:
        assert (await post(hook, body=Source(2 * MIB))).status == 204
        assert (await post(hook)).failure == "timeout"


async def test_a_failing_source_raises_its_own_error(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")

    class StoreError(Exception):
        pass

    class Failing(Source):
        async def __call__(self) -> AsyncIterator[bytes]:
            async for chunk in super().__call__():
                yield chunk
                if self.passes == 2:
                    raise StoreError

    async with webhook_to(receiver) as hook:
        with pytest.raises(StoreError):
            await post(hook, body=Failing(4 * MIB))
        assert (await post(hook)).status == 204
    assert len(receiver.received) == 1


async def test_a_receiver_that_breaks_off_in_the_middle_of_a_large_body(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")

    class Endless(Source):
        async def __call__(self) -> AsyncIterator[bytes]:
            async for chunk in super().__call__():
                if self.passes == 2:
                    await receiver.behave(Behaviour(kind="down"))
                yield chunk

    async with webhook_to(receiver) as hook:
        answer = await post(hook, body=Endless(8 * MIB))
    assert answer.failure == "reset"


@pytest.mark.parametrize("size", [100_000_000, 0], ids=["100 MB", "endless"])
async def test_a_huge_answer_costs_its_connection_and_no_memory(receivers: Receivers, size: int) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="huge", size=size))
    async with webhook_to(receiver) as hook, watching_memory() as growth:
        answer = await post(hook)
        assert (answer.status, len(answer.head)) == (200, HEAD)
        await eventually(lambda: receiver.connections == 0)
        assert growth() < 24 * MIB
