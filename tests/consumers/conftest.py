"""A house of its own for each test."""

from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from claimbus.cli.ports import PortRange
from claimbus.cli.settings import Settings
from tests.consumers.house import House, open_house


@pytest.fixture
def settings(amqp_url: str, redis_url: str, key_prefix: str, sqlite_url: str) -> Settings:
    return Settings(
        environment="test",
        amqp_url=amqp_url,
        redis_url=redis_url,
        key_prefix=key_prefix,
        database_url=sqlite_url,
        retry_ladder="300ms,600ms,1200ms",
        hold_pause=timedelta(milliseconds=300),
        hold_pause_longest=timedelta(seconds=1),
        grace=timedelta(seconds=5),
        webhook_networks=(ip_network("127.0.0.0/8"),),
        webhook_ports=(PortRange(1, 65535),),
    )


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(settings, tmp_path) as house:
        yield house
