"""``./dev up`` prints an address where both ways work."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.browsing import visiting
from tests.cli.test_up import UP, started

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_people_that_it_prints_can_log_in(
    browser: Browser, amqp_url: str, key_prefix: str, tmp_path: Path
) -> None:
    settings = {
        "CLAIMBUS_AMQP_URL": amqp_url,
        "CLAIMBUS_KEY_PREFIX": key_prefix,
        "CLAIMBUS_DATABASE_URL": f"sqlite:///{tmp_path / 'claimbus.db'}",
    }
    with started(UP, settings, "worker ready", "portal ready") as up:
        (url,) = re.findall(r"^ +(https://\S+)$", up.said, re.MULTILINE)
        uaa, operator = re.findall(r"cbt_\S+", up.said)
        for token, begins in ((uaa, "/endpoints"), (operator, "/overview")):
            async with visiting(browser, url) as visit:
                page = await visit.log_in(token)
                await page.wait_for_url(url + begins)
                assert await page.locator("h1").count() == 1
        up.interrupted()
