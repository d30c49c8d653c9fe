"""An operator's way, from a red dashboard to a green one."""

import pytest
from playwright.async_api import Browser, expect

from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.database import endpoints, participants
from claimbus.database.access import Role
from claimbus.events.event import audience_of
from tests.browser.browsing import visiting
from tests.browser.system import ACT, System

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIVE_WITHIN = 2_000
"""Milliseconds in which a page that is open shows what is new."""

PATIENCE = 60_000
"""Milliseconds for what goes through all of the system."""

COUNT = 3


async def test_from_a_red_dashboard_to_a_green_one(browser: Browser, plain: System) -> None:
    receiver = await plain.receivers.add("operator", Behaviour(kind="status", status=422))
    with plain.database.transaction() as sql:
        participants.add(sql, "SCE1", "Southern Example", ACT)
        endpoint = endpoints.add(
            sql, "SCE1", ACT, name="Scheduling", url=receiver.url, subscriptions=["market.#"], verified=True
        )
    receiver.secrets = (endpoint.secrets[0].value,)
    await plain.provide(endpoint)
    async with visiting(browser, plain.url) as visit:
        dashboard = await visit.log_in(plain.token("Ingrid Operator", Role.OPERATOR))
        answer = dashboard.locator(".answer")
        for day in range(COUNT):
            await plain.close_market(100 + day, audience=audience_of(["SCE1"]))
        await expect(answer).to_contain_text(f"{COUNT} dead letters", timeout=PATIENCE)
        await expect(dashboard.locator(".tile.bad")).to_contain_text("Dead letters")

        page = await visit.tab("/letters/groups")
        group = page.get_by_role("row").filter(has_text="HTTP 422")
        await expect(group).to_contain_text(str(COUNT))
        await receiver.behave()  # it is mended
        await group.get_by_role("link").first.click()
        await expect(page.get_by_role("checkbox")).to_have_count(COUNT)
        await page.get_by_role("link", name="dl_").first.click()
        await expect(page.locator("pre").first).to_contain_text("trade_date")
        await page.get_by_role("link", name="those of its group").click()
        await page.get_by_role("link", name="Replay all of these").click()
        await expect(page.get_by_role("heading", name="What it would meet")).to_be_visible()
        await page.get_by_label("Reason").fill("their gateway was mended")
        await page.get_by_role("button", name="Replay").click()
        await page.wait_for_url("**/replays/*")
        await expect(page.get_by_text(f"{COUNT} of {COUNT} done")).to_be_visible(timeout=PATIENCE)
        await expect(answer).to_contain_class("good", timeout=LIVE_WITHIN)
        await expect(dashboard.get_by_text("None waits.")).to_be_visible()
    assert len(receiver.received) > COUNT
