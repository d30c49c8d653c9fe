"""A portal for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimbus.cli.settings import Settings
from tests.portal.portals import Portal, open_portal
from tests.producers.conftest import shared_amqp_url

__all__ = ["shared_amqp_url"]


@pytest.fixture
def settings(shared_amqp_url: str, redis_url: str, key_prefix: str, sqlite_url: str) -> Settings:
    return Settings(
        environment="test",
        amqp_url=shared_amqp_url,
        redis_url=redis_url,
        key_prefix=key_prefix,
        database_url=sqlite_url,
        retry_ladder="1s",
        portal_listen="127.0.0.1:0",
    )


@pytest.fixture
async def portal(settings: Settings, tmp_path: Path) -> AsyncIterator[Portal]:
    async with open_portal(settings, tmp_path) as portal:
        yield portal
