"""A terminal for each test, on a bus of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.producers.bus import Bus, open_bus
from tests.producers.conftest import shared_amqp_url

__all__ = ["shared_amqp_url"]


@pytest.fixture
def bus_settings(shared_amqp_url: str, redis_url: str, key_prefix: str, sqlite_url: str) -> dict[str, str]:
    return {
        "CLAIMBUS_ENVIRONMENT": "test",
        "CLAIMBUS_AMQP_URL": shared_amqp_url,
        "CLAIMBUS_REDIS_URL": redis_url,
        "CLAIMBUS_KEY_PREFIX": key_prefix,
        "CLAIMBUS_DATABASE_URL": sqlite_url,
        "CLAIMBUS_RETRY_LADDER": "1s",
        "CLAIMBUS_AGE_LIMIT": "2h",
        "CLAIMBUS_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "CLAIMBUS_WEBHOOK_PORTS": "1-65535",
    }


@pytest.fixture
def terminal(bus_settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(bus_settings, tmp_path)


@pytest.fixture
async def bus(shared_amqp_url: str, redis_url: str, key_prefix: str) -> AsyncIterator[Bus]:
    """The bus that the terminal's commands publish on."""
    async with open_bus(shared_amqp_url, redis_url, key_prefix) as bus:
        yield bus
