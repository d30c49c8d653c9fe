"""A recovery that is stopped while its list goes on by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, expect

from claimbus.database import endpoints, participants, recoveries
from claimbus.database.access import Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.recoveries import Recovery
from tests.browser.browsing import visiting
from tests.browser.system import ACT, System

pytestmark = pytest.mark.asyncio(loop_scope="session")

BECOMES = "form => { form.action = '/logout'; document.querySelector('#ask [value=yes]').click(); }"
"""A form becomes another while somebody is asked whether to send it, who says yes."""


async def test_the_one_that_is_stopped_is_the_one_that_was_asked_about(
    browser: Browser, plain: System
) -> None:
    with plain.database.transaction() as sql:
        participants.add(sql, "STOPS", "Stopping Example", ACT)
        first, second = (
            endpoints.add(sql, "STOPS", ACT, kind="stream", name=name, subscriptions=["#"])
            for name in ("first", "second")
        )
        recoveries.begin(sql, running("rv_first", first))
    async with visiting(browser, plain.url) as visit:
        await visit.log_in(plain.token("Sam Stops", Role.UAA, organisation="Stopping Example"))
        page = await visit.open("/recoveries")
        dialog = page.get_by_role("dialog")
        await page.get_by_role("button", name="Stop").click()
        await dialog.get_by_label("Why").fill("the wrong day")
        with plain.database.transaction() as sql:
            recoveries.begin(sql, running("rv_second", second))
        await expect(page.locator("#recovery-rv_second")).to_be_visible()
        await dialog.get_by_role("button", name="Stop").click()
        await expect(page.get_by_text("nothing more of it is sent")).to_be_visible()
        await expect(page.locator("#recovery-rv_first")).to_contain_text("stopped by Sam Stops")
        await page.get_by_role("link", name="Of all endpoints").click()
        await page.get_by_role("button", name="Stop").click()
        await page.locator("form[action$='/stop']").evaluate(BECOMES)
        await expect(dialog).to_be_hidden()
        await page.reload()
        await expect(page.locator("#recovery-rv_second")).to_contain_text("running")
        await page.get_by_role("link", name="Audit").click()
        await expect(page.get_by_text("the wrong day")).to_be_visible()


def running(id_: str, at: Endpoint) -> Recovery:
    """A recovery that no portal runs, though it gives signs for an hour."""
    now = datetime.now(UTC)
    return Recovery(
        id=id_,
        endpoint_id=at.id,
        participant_id=at.participant_id,
        actor="Sam Stops",
        reason="a day was lost",
        since=now - timedelta(days=1),
        until=None,
        type=None,
        everything=False,
        begun_at=now,
        beat_at=now + timedelta(hours=1),
    )
