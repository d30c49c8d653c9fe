"""An operator's ways: from a red dashboard to a green one, and what else is done in a day."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

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
        await expect(answer).to_contain_text(f"{COUNT} new dead letters", timeout=PATIENCE)
        await expect(answer).to_contain_class("bad")
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


async def test_a_replay_is_paused_resumed_and_cancelled_and_what_is_left_set_aside(
    browser: Browser, plain: System
) -> None:
    receiver = await plain.receivers.add("replayed", Behaviour(kind="status", status=404))
    with plain.database.transaction() as sql:
        participants.add(sql, "SLOW1", "Slow Example", ACT)
        endpoint = endpoints.add(
            sql, "SLOW1", ACT, name="Desk", url=receiver.url, subscriptions=["market.#"], verified=True
        )
    receiver.secrets = (endpoint.secrets[0].value,)
    await plain.provide(endpoint)
    async with visiting(browser, plain.url) as visit:
        await visit.log_in(plain.token("Ingrid Operator", Role.OPERATOR))
        for day in range(9):
            await plain.close_market(200 + day, audience=audience_of(["SLOW1"]))
        page = await visit.open("/overview")
        await expect(page.locator(".answer")).to_contain_text("9 new dead letters", timeout=PATIENCE)
        await receiver.behave()

        page = await visit.open("/letters/groups?participant=SLOW1")
        await page.get_by_role("link", name="Replay…").click()
        await page.get_by_label("Letters a second").fill("0.5")
        await page.get_by_label("Reason").fill("a word was missing")
        await page.get_by_role("button", name="Replay 9").dblclick()
        await page.wait_for_url("**/replays/*")
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_label("Why").fill("the receiver is being mended")
        await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("Nothing more is sent")).to_be_visible()
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_text("It goes on.")).to_be_visible()
        await page.get_by_role("button", name="Cancel the replay").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel the replay").click()
        await expect(page.locator("h2").first).to_contain_text("cancelled", timeout=PATIENCE)
        await page.get_by_role("link", name="cancelled").click()
        await expect(page.get_by_role("row").filter(has_text="cancelled").first).to_be_visible()

        page = await visit.open("/letters?participant=SLOW1")
        await page.get_by_role("button", name="Discard the chosen").click()
        await expect(page.get_by_role("alert")).to_contain_text("choose at least one")
        await page.go_back()
        await page.get_by_role("checkbox").first.check()
        await page.get_by_role("button", name="Discard the chosen").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Discard 1 letter")
        await page.get_by_label("Reason").fill("of no use")
        await page.get_by_role("button", name="Discard").click()
        await page.get_by_role("link", name="1 discarded").first.click()
        await page.get_by_role("link", name="Restore all").click()
        await page.get_by_label("Reason").fill("of use after all")
        await page.get_by_role("button", name="Restore").click()
        await expect(page.get_by_text("wait as dead letters again")).to_be_visible()
        await page.get_by_role("link", name="Discard…").first.click()
        await page.get_by_label("Reason").fill("the test is over")
        await page.get_by_role("button", name="Discard").click()
        await expect(page.get_by_text("The letters were set aside.")).to_be_visible()


async def test_a_participant_is_added_and_what_is_its_own_put_in(browser: Browser, plain: System) -> None:
    async with visiting(browser, plain.url) as visit:
        await visit.log_in(plain.token("Ingrid Operator", Role.OPERATOR))
        page = await visit.open("/participants")
        await page.get_by_role("link", name="Add a participant").click()
        await page.get_by_label("ID needed").fill("NEWCO")
        await page.get_by_label("Organisation needed").fill("New Example")
        await page.get_by_label("Reason").fill("joins today")
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("alert")).to_contain_text("say so if it is new")
        await page.get_by_label("It is a new organisation").check()
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("NEWCO")

        await page.get_by_role("link", name="Change…").click()
        await page.get_by_label("Patterns").fill("oms.#")
        await page.get_by_label("Reason").fill("outages only")
        await page.get_by_role("button", name="Change").click()
        await page.get_by_role("dialog").get_by_role("button", name="Change").click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        await expect(page.locator("code.chip")).to_have_text("oms.#")

        resources = page.get_by_role("region", name=re.compile("^Resources"))
        await resources.get_by_role("link", name="Add…").click()
        await page.get_by_label("Resource ID").fill("SUNRIV_2_UNIT 1")
        await page.get_by_label("Reason").fill("bought it")
        await page.get_by_role("button", name="Add").click()
        await expect(resources).to_contain_text("SUNRIV_2_UNIT 1")
        await resources.get_by_role("link", name="End…").click()
        await page.get_by_label("Reason").fill("sold it")
        await page.get_by_role("button", name="End it").click()
        await page.get_by_role("dialog").get_by_role("button", name="End it").click()
        await expect(resources).to_contain_text("It owns no resources any more")

        contacts = page.get_by_role("region", name="Contacts of New Example")
        await contacts.get_by_role("link", name="Add…").click()
        await page.get_by_label("E-mail address").fill("desk@new.example")
        await page.get_by_label("Reason").fill("they asked for it")
        await page.get_by_role("button", name="Add").click()
        await expect(contacts).to_contain_text("desk@new.example")
        await contacts.get_by_role("link", name="Remove…").click()
        await page.get_by_label("Reason").fill("left")
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(contacts).to_contain_text("Nobody is told")


async def test_a_dashboard_that_nobody_sees_listens_to_nothing(browser: Browser, plain: System) -> None:
    async with visiting(browser, plain.url) as visit:
        dashboard = await visit.log_in(plain.token("Ingrid Operator", Role.OPERATOR))
        moment = dashboard.locator(".asof time")
        at_first = await moment.get_attribute("datetime")
        await expect(moment).not_to_have_attribute("datetime", at_first or "")  # it is live
        asked: list[str] = []
        visit.context.on("request", lambda request: asked.append(request.url))
        await _turn_to(dashboard, hidden=True)
        shown = await moment.get_attribute("datetime")
        await dashboard.wait_for_timeout(2 * LIVE_WITHIN)
        assert await moment.get_attribute("datetime") == shown
        assert asked == []
        await _turn_to(dashboard, hidden=False)
        await expect(moment).not_to_have_attribute("datetime", shown or "", timeout=2 * LIVE_WITHIN)


async def _turn_to(page: Page, *, hidden: bool) -> None:
    """Tell a page that it is hidden, or seen again: a browser without a screen never does."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )
