"""Real servers for every test; a vhost, a key prefix and a fresh database isolate them."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from claimbus.cli.services import server
from claimbus.cli.services.rabbitmq import rabbitmq_server
from claimbus.cli.services.redis import redis_server
from tests.services import own_database, own_vhost, required

# A busy machine is no fault of a property.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Processes that run tests side by side take ports of their own: one's server may be down while another looks.
server.PORTS = server.PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4 :: 4]

PRIVATE_SERVERS = frozenset(
    {"node", "own_servers", "private_redis", "private_rabbitmq", "rabbitmq", "redis_server", "shared_cluster"}
)
"""Fixtures that start servers of their own, to be killed, filled or hung."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests out that need the servers' programs where only a Docker engine is."""
    if rabbitmq_server() and redis_server():
        return
    left_out = [item for item in items if PRIVATE_SERVERS.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def own_servers() -> None:
    """Mark a test that starts servers by itself."""


@pytest.fixture
def amqp_url() -> Iterator[str]:
    """The AMQP URL of a vhost of its own, deleted afterwards."""
    with own_vhost() as url:
        yield url


@pytest.fixture
def redis_url() -> str:
    return required("CLAIMBUS_REDIS_URL")


@pytest.fixture
def key_prefix() -> str:
    """Put before every Redis key, so that tests do not see each other's."""
    return f"test:{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'claimbus.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'claimbus.db'}"
        return
    with own_database() as url:
        yield url.replace("postgresql://", "postgresql+psycopg://")
