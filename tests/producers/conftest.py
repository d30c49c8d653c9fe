"""One vhost for all tests of producers: each hears what is published while it runs."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.producers.bus import Bus, open_bus
from tests.services import management, vhost_url


@pytest.fixture(scope="session")
def shared_amqp_url() -> Iterator[str]:
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    management("PUT", f"/vhosts/{vhost}", {})
    management("PUT", f"/permissions/{vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    yield vhost_url(vhost)
    management("DELETE", f"/vhosts/{vhost}")


@pytest.fixture
async def bus(shared_amqp_url: str, redis_url: str, key_prefix: str) -> AsyncIterator[Bus]:
    async with open_bus(shared_amqp_url, redis_url, key_prefix) as bus:
        yield bus
