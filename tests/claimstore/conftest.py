"""Stores on the shared Redis, each with a prefix of its own, and private Redis servers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from claimstore import ClaimStore
from claimstore.connection import Connection
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import keys


@pytest.fixture
async def connection(redis_url: str, key_prefix: str) -> AsyncIterator[Connection]:
    async with await Connection.open(redis_url, prefix=key_prefix) as connection:
        yield connection
        await connection.ask_many(("UNLINK", key) for key in await keys(connection))


@pytest.fixture
def store(connection: Connection) -> ClaimStore:
    return ClaimStore(connection)


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A running Redis that the test may stop, fill and kill."""
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    yield redis
    redis.kill()
