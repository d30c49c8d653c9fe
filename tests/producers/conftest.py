"""One vhost for all tests of producers: each hears what is published while it runs."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.producers.bus import Bus, open_bus
from tests.services import own_vhost


@pytest.fixture(scope="session")
def shared_amqp_url() -> Iterator[str]:
    """The AMQP URL of a vhost for a room; each room that imports this has one of its own."""
    with own_vhost() as url:
        yield url


@pytest.fixture
async def bus(shared_amqp_url: str, redis_url: str, key_prefix: str) -> AsyncIterator[Bus]:
    async with open_bus(shared_amqp_url, redis_url, key_prefix) as bus:
        yield bus
