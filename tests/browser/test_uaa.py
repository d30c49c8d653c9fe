"""A UAA's way, from the login to the first event that is received; and what is not hers."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.database import endpoints, participants
from claimbus.database.access import Role
from claimbus.events.event import audience_of
from claimbus.events.markets import PACIFIC
from tests.browser.browsing import visiting
from tests.browser.seed import Town
from tests.browser.system import ACT, System
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVENTS = 7
"""Enough to hold an endpoint that takes none of them."""

PATIENCE = 60.0
"""Seconds for what goes through all of the system; the pauses between two probes grow."""


async def test_from_the_login_to_the_first_event(browser: Browser, plain: System) -> None:
    with plain.database.transaction() as sql:
        participants.add(sql, "PGAE", "Pacific Example Power", ACT)
    token = plain.token("Ana Pacheco", Role.UAA, organisation="Pacific Example Power")
    receiver = await plain.receivers.add("uaa")
    async with visiting(browser, plain.url) as visit:
        page = await visit.log_in(token)
        await expect(page.get_by_text("Nothing receives yet")).to_be_visible()

        await page.get_by_role("link", name="Add the first one").click()
        await page.get_by_label("Name").fill("Control room")
        await page.get_by_label("URL", exact=True).fill(receiver.url)
        await page.get_by_text("market", exact=True).click()
        await page.get_by_label("All of market").check()
        await page.get_by_role("button", name="Add the endpoint").click()
        await expect(page.get_by_text("Does your receiver want events?")).to_be_visible()
        await expect(page.locator(".badge", has_text="Yes")).to_be_visible()
        secret = await page.locator(".secret .code code").inner_text()
        receiver.secrets = (secret,)

        await page.get_by_role("link", name="To the endpoint").click()
        await page.get_by_role("button", name="Send a test event").click()
        await expect(page.get_by_text("It arrived.")).to_be_visible()
        assert [one.verified for one in receiver.received] == [True]

        message_id = await plain.close_market(audience=audience_of(["PGAE"]))
        await eventually(lambda: len(receiver.received) == 2)
        await page.get_by_role("link", name="Deliveries").first.click()
        row = page.get_by_role("row", name="market.dam.closed")
        await _reloading_until_there(page, row)
        await row.get_by_role("link").first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("market.dam.closed")
        await expect(page.get_by_text("HTTP 204")).to_be_visible()
        await expect(page.locator("pre").last).to_contain_text(f"webhook-id: {message_id}")

        await page.get_by_label("Reason").fill("they lost it")
        await page.get_by_role("button", name="Send once more to Control room").click()
        await expect(page.get_by_role("heading", name="2 attempts")).to_be_visible()
        await eventually(lambda: len(receiver.received) == 3)

        await page.locator("summary", has_text="Ana Pacheco").click()
        await page.get_by_role("button", name="Log out").click()
        await page.wait_for_url("**/login")
        await page.goto(f"{plain.url}/endpoints")
        await page.wait_for_url("**/login?next=/endpoints")


async def test_from_a_held_endpoint_to_all_that_it_missed(browser: Browser, plain: System) -> None:
    receiver = await plain.receivers.add("held", Behaviour(kind="status", status=503))
    with plain.database.transaction() as sql:
        participants.add(sql, "HELD", "Held Example", ACT)
        endpoint = endpoints.add(
            sql, "HELD", ACT, name="Gateway", url=receiver.url, subscriptions=["market.#"], verified=True
        )
    receiver.secrets = (endpoint.secrets[0].value,)
    await plain.provide(endpoint)
    for day in range(EVENTS):
        await plain.close_market(700 + day)
    async with visiting(browser, plain.url) as visit:
        page = await visit.log_in(plain.token("Hal Held", Role.UAA, organisation="Held Example"))
        await page.get_by_label("State").select_option("held")
        await page.get_by_role("button", name="Search").click()
        await page.wait_for_url("**/endpoints?*state=held*")
        found = page.get_by_role("row", name="Gateway")
        await _reloading_until_there(page, found)
        await expect(found).to_contain_text("HTTP 503")
        await found.get_by_role("link").first.click()
        await expect(page.get_by_text("Held since")).to_be_visible()
        await expect(page.get_by_text("Your receiver answers with an error of its own")).to_be_visible()

        await receiver.behave()  # it is mended
        await page.get_by_role("button", name="Verify again").click()
        await expect(page.locator(".badge", has_text="Yes")).to_be_visible()
        await page.get_by_role("link", name="To the endpoint").click()
        await page.wait_for_url(f"**/endpoints/{endpoint.id}")
        await _reloading_until_there(page, page.locator("h1 + p .badge", has_text="active"))

        await page.get_by_text("Recover since a time").click()
        an_hour_ago = datetime.now(ZoneInfo(PACIFIC)) - timedelta(hours=1)
        await page.get_by_label("Since").fill(an_hour_ago.strftime("%Y-%m-%dT%H:%M"))
        await page.get_by_label("Also what was delivered").check()
        await page.get_by_role("button", name="Recover").click()
        progress = page.locator("#recoveries")
        await expect(progress).to_contain_text("journal entries read")  # as it goes on, and at the end
        await expect(progress.locator(".badge", has_text="done")).to_be_visible()
        await expect(progress.get_by_role("cell", name=str(EVENTS), exact=True)).to_be_visible()
        await page.get_by_role("link", name="Recoveries").click()
        await expect(page.get_by_role("row", name="Gateway")).to_contain_text("Hal Held")


async def test_a_stream_is_added_without_a_url_and_without_scripts(browser: Browser, plain: System) -> None:
    with plain.database.transaction() as sql:
        participants.add(sql, "NOSCRIPT", "Scriptless Example", ACT)
    async with visiting(browser, plain.url, scripts=False) as visit:
        page = await visit.log_in(plain.token("Noa", Role.UAA, organisation="Scriptless Example"))
        await page.get_by_role("link", name="Add the first one").click()
        await page.get_by_label("Name").fill("Archive")
        await page.get_by_label("URL", exact=True).fill("no address at all")
        await page.get_by_label("Stream").check()
        await expect(page.get_by_label("URL", exact=True)).to_be_hidden()
        await page.get_by_text("market", exact=True).click()
        await page.get_by_label("All of market").check()
        await expect(page.get_by_label("market.dam.closed", exact=True)).to_be_hidden()
        await page.get_by_role("button", name="Add the endpoint").click()
        await expect(page.get_by_text("claimbus subscribe")).to_be_visible()


async def test_what_is_anothers_is_not_open_to_her(browser: Browser, seeded: System, town: Town) -> None:
    endpoint, letter = town.endpoints["Control room"], town.letters["timeout"][0]
    paths = [
        f"/endpoints/{endpoint.id}",
        f"/deliveries?endpoint={endpoint.id}",
        f"/deliveries?participant={endpoint.participant_id}",
        f"/deliveries.csv?endpoint={endpoint.id}",
        f"/recoveries?endpoint={endpoint.id}",
        f"/deliveries/{letter.endpoint_id}/{letter.message_id}",
        f"/letters/{letter.id}",
        f"/letters/{letter.id}/body",
        f"/letters?participant={endpoint.participant_id}",
        f"/letters/replay/choose?participant={endpoint.participant_id}&now=yes",
        f"/letters/discard/choose?id={letter.id}",
        f"/replays/{town.replay}",
        "/endpoints/ep_that_nobody_has",
        "/overview",
        "/participants",
        f"/participants/{endpoint.participant_id}",
        "/journal",
        "/notices/new",
        "/live/overview",
    ]
    async with visiting(browser, seeded.url) as visit:
        page = await visit.log_in(town.stranger)
        for path in paths:
            answer = await page.goto(seeded.url + path)
            assert answer is not None
            assert answer.status == 403, path
            await expect(page.get_by_role("heading", level=1), path).to_have_text("Not open to you")
            text = await page.inner_text("main")
            assert endpoint.name not in text
            assert "Pacific" not in text
        for path in (
            "/endpoints",
            "/deliveries",
            "/letters",
            "/letters/groups",
            "/replays",
            "/recoveries",
            "/credentials",
            "/audit",
        ):
            await visit.open(path)
            text = await page.inner_text("main")
            assert "PGAE" not in text, path
            assert "Pacific" not in text, path


async def _reloading_until_there(page: Page, row: Locator) -> None:
    async def look() -> int:
        await page.reload()
        return await row.count()

    await eventually(look, within=PATIENCE, every=0.2)
