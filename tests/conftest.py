"""Real servers for every test; a vhost, a key prefix and a fresh database isolate them."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import management, required, vhost_url


@pytest.fixture
def amqp_url() -> Iterator[str]:
    """The AMQP URL of a vhost of its own, deleted afterwards."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    management("PUT", f"/vhosts/{vhost}", {})
    management("PUT", f"/permissions/{vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    yield vhost_url(vhost)
    management("DELETE", f"/vhosts/{vhost}")


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
    import psycopg

    server = os.environ["CLAIMBUS_TEST_POSTGRESQL_URL"]
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield server.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
