"""Stores on the shared Redis, each with a prefix of its own, and private Redis servers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from claimbus.cli.services.redis import redis_server
from claimstore import ClaimStore
from claimstore.connection import Connection
from tests.claimstore.clusters import RedisCluster, redis_cluster
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import keys


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster for tests that leave it as it is, but for keys."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["server", "cluster"] if redis_server() else ["server"])
async def connection(
    request: pytest.FixtureRequest, redis_url: str, key_prefix: str
) -> AsyncIterator[Connection]:
    url = redis_url if request.param == "server" else request.getfixturevalue("shared_cluster").url
    async with await Connection.open(url, prefix=key_prefix) as connection:
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
