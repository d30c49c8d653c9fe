"""One browser for all these tests, and a system for each kind of them; all in the session's loop."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from claimbus.cli.development import browser_program
from tests.browser.browsing import browsing
from tests.browser.seed import Town, settle
from tests.browser.system import System, running
from tests.services import own_vhost, required

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out where there is no browser; ``./dev test`` has said so."""
    here = [item for item in items if HERE in item.path.parents]
    if here and browser_program() is None:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


@pytest.fixture(scope="session")
def vhosts() -> Iterator[list[str]]:
    """The URLs of two vhosts: one for those who only look, one for those who change something."""
    with own_vhost() as town, own_vhost() as plain:
        yield [town, plain]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def seeded(vhosts: list[str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The system that has the town in it."""
    async with running(
        tmp_path_factory.mktemp("town"),
        amqp_url=vhosts[0],
        redis_url=required("CLAIMBUS_REDIS_URL"),
        key_prefix=f"{vhosts[0].rpartition('/')[2]}:",
    ) as system:
        yield system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(seeded: System) -> Town:
    return await settle(seeded)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain(vhosts: list[str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system with nothing in it yet."""
    async with running(
        tmp_path_factory.mktemp("plain"),
        amqp_url=vhosts[1],
        redis_url=required("CLAIMBUS_REDIS_URL"),
        key_prefix=f"{vhosts[1].rpartition('/')[2]}:",
    ) as system:
        yield system
