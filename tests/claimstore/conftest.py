"""Stores on the shared Redis, each with a prefix of its own, and private Redis servers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from claimstore import ClaimStore
from claimstore.connection import Connection
from tests.claimstore.private import PrivateRedis


@pytest.fixture
async def store(redis_url: str, key_prefix: str) -> AsyncIterator[ClaimStore]:
    async with await ClaimStore.open(redis_url, prefix=key_prefix, strict=False) as store:
        yield store
        await remove_all(store.connection)


@pytest.fixture
async def connection(redis_url: str, key_prefix: str) -> AsyncIterator[Connection]:
    connection = await Connection.open(redis_url, prefix=key_prefix)
    yield connection
    await remove_all(connection)
    await connection.aclose()


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A running Redis that the test may stop, fill and kill."""
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    yield redis
    redis.kill()


async def remove_all(connection: Connection) -> None:
    cursor = b"0"
    while True:
        cursor, keys = await connection.ask("SCAN", cursor, "MATCH", f"{connection.prefix}*", "COUNT", 1000)
        if keys:
            await connection.ask("UNLINK", *keys)
        if cursor == b"0":
            return
