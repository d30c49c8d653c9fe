"""Every main page: nothing serious for axe-core, all of it by keyboard, nothing said that should not be."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from claimbus.events.event import audience_of
from tests.browser.browsing import Visit, findings, visiting
from tests.browser.seed import Town
from tests.browser.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES: Final = os.environ.get("PICTURES")
"""The folder that pictures of the pages are written to; unset: none are."""

NARROW, WIDE = 375, 1440


class Looked(NamedTuple):
    """A page to look at: its path, who looks, and the names of its pictures, if it has any."""

    path: str
    whose: str
    picture: str = ""
    narrow: str = ""
    dark: str = ""


PAGES: Final = {
    "overview": Looked("/overview", "operator", "overview", dark="overview-dark"),
    "groups": Looked("/letters/groups", "operator", "letters"),
    "letters": Looked("/letters?endpoint={odd}", "operator"),
    "letter": Looked("/letters/{letter}", "operator"),
    "html letter": Looked("/letters/{html}", "operator"),
    "preflight": Looked("/letters/replay/choose?endpoint={refusing}&now=yes", "operator", "preflight"),
    "discarding": Looked("/letters/discard/choose?endpoint={refusing}", "operator"),
    "replays": Looked("/replays", "operator"),
    "replay": Looked("/replays/{replay}", "operator", "replay"),
    "participants": Looked("/participants", "operator"),
    "participant": Looked("/participants/PGAE", "operator", "participant"),
    "new participant": Looked("/participants/new", "operator"),
    "a participant's event types": Looked("/participants/PGAE/event-types", "operator"),
    "a participant's new resource": Looked("/participants/PGAE/own", "operator"),
    "a participant's new contact": Looked("/participants/PGAE/tell", "operator"),
    "groups by hour": Looked("/letters/groups?by=hour", "operator"),
    "journal": Looked("/journal", "operator"),
    "journal's entries": Looked("/journal?type=market.%23", "operator"),
    "parked": Looked("/parked", "operator"),
    "notice": Looked("/notices/new", "operator", "notice"),
    "event types": Looked("/event-types", "operator"),
    "retired type": Looked("/event-types/market.dam.closed", "operator"),
    "operator's audit": Looked("/audit", "operator"),
    "all endpoints": Looked("/endpoints", "operator"),
    "endpoints": Looked("/endpoints", "uaa", "endpoints", narrow="endpoints-375"),
    "held endpoints": Looked("/endpoints?state=held", "uaa"),
    "new endpoint": Looked("/endpoints/new", "uaa", "new-endpoint"),
    "endpoint": Looked("/endpoints/{endpoint}", "uaa", "endpoint", narrow="endpoint-375"),
    "held endpoint": Looked("/endpoints/{held}", "uaa", "held-endpoint"),
    "pending endpoint": Looked("/endpoints/{pending}", "uaa"),
    "deliveries": Looked("/deliveries", "uaa", "deliveries"),
    "more filters": Looked("/deliveries?since=2026-01-01T00:00&verdict=failed", "uaa"),
    "UAA's replays": Looked("/replays", "uaa"),
    "recoveries": Looked("/recoveries", "uaa"),
    "credentials": Looked("/credentials", "uaa"),
    "delivery": Looked("/deliveries/{refusing}/{message}", "operator", "delivery"),
    "UAA's groups": Looked("/letters/groups", "uaa"),
    "catalogue": Looked("/events", "uaa"),
    "event type": Looked("/events/oms.resource-outage.status-changed", "uaa", "event-type"),
    "audit": Looked("/audit", "uaa"),
    "nothing here": Looked("/endpoints/ep_nobody", "uaa"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def operator(browser: Browser, seeded: System, town: Town) -> AsyncIterator[Visit]:
    async with visiting(browser, seeded.url) as visit:
        await visit.log_in(town.operator)
        yield visit


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def uaa(browser: Browser, seeded: System, town: Town) -> AsyncIterator[Visit]:
    async with visiting(browser, seeded.url) as visit:
        await visit.log_in(town.uaa)
        yield visit


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traffic(seeded: System, town: Town, operator: Visit) -> None:
    """For a picture there is something to see: the overview is open while events come and go."""
    if not PICTURES:
        return
    await operator.open("/overview")
    for number in range(120):
        await seeded.close_market(1000 + number, audience=audience_of(["SDGE_RENEWABLES"]))
        await asyncio.sleep(0.05 + 0.2 * random.Random(number).random())


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("name", PAGES)
async def test_everybody_can_use_it(name: str, operator: Visit, uaa: Visit, town: Town) -> None:
    looked = PAGES[name]
    visit = operator if looked.whose == "operator" else uaa
    page = await visit.open(_path(looked.path, town))
    assert await page.locator("h1").count() == 1, (await page.inner_text("body"))[:500]
    if PICTURES:
        await _picture(page, looked, Path(PICTURES))
    found = []
    for scheme, width in (("dark", NARROW), ("light", WIDE)):  # in this order: wide, the menu is there again
        await _turn(page, scheme, width)
        found += [f"{scheme}, {width}: {line}" for line in await findings(page)]
        found += await _beyond(page)
    found += await _unreachable(page)
    assert not found, "\n".join(found)
    assert visit.faults == []


async def test_what_others_wrote_is_shown_and_never_run(operator: Visit, town: Town) -> None:
    letter = town.letters["html"][0]
    for path in (
        f"/letters/{letter.id}",
        f"/deliveries/{letter.endpoint_id}/{letter.message_id}",
        f"/endpoints/{letter.endpoint_id}",
        "/letters/groups",
        "/endpoints",
        "/participants",
        "/participants/ODD_ONE",
        "/audit",
    ):
        page = await operator.open(path)
        assert "mine" not in await page.title()
        assert await page.locator("main img, main script, main [onmouseover]").count() == 0, path
        text = await page.text_content("main")
        assert any(whole in (text or "") for whole in ("<img src=x", "{{ 7 * 7 }}", "ODD_ONE")), path
    assert operator.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_log_in(scheme: str, browser: Browser, seeded: System) -> None:
    for width in (NARROW, WIDE):
        async with visiting(browser, seeded.url, width=width, scheme=scheme) as visit:  # type: ignore[arg-type]
            page = await visit.open("/login")
            assert await findings(page) == []
            assert await _unreachable(page) == []


async def test_a_dialog_is_opened_left_and_answered_by_keyboard(uaa: Visit, town: Town) -> None:
    page = await uaa.open(f"/endpoints/{town.endpoints['Market desk'].id}")
    pause = page.get_by_role("button", name="Pause")
    dialog = page.get_by_role("dialog")
    await pause.focus()
    await page.keyboard.press("Enter")
    await dialog.wait_for()
    assert await findings(page) == []
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="hidden")
    assert await pause.evaluate("element => element === document.activeElement")
    await page.keyboard.press("Enter")
    await dialog.wait_for()
    await dialog.get_by_label("Why").fill("the desk moves")
    await page.keyboard.press("Enter")
    await page.get_by_text("Paused. Its queue keeps everything that comes.").wait_for()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_text("It goes on.").wait_for()
    await uaa.open("/audit")
    await page.get_by_text("the desk moves").first.wait_for()


async def test_the_menu_is_folded_where_it_is_narrow_and_always_there_where_it_is_wide(uaa: Visit) -> None:
    page = await uaa.open("/endpoints")
    link = page.get_by_role("link", name="Audit")
    await link.wait_for()
    await _turn(page, "light", NARROW)
    await link.wait_for(state="hidden")
    await page.get_by_text("Menu").click()
    await link.click()
    await page.wait_for_url("**/audit")
    await _turn(page, "light", WIDE)
    await link.wait_for()


async def test_what_is_chosen_by_hand_stays_light_or_dark(uaa: Visit) -> None:
    page = await uaa.open("/endpoints")
    await page.get_by_role("button", name="Switch between light and dark").click()
    await page.reload()
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    assert await findings(page) == []
    await page.get_by_role("button", name="Switch between light and dark").click()


async def _picture(page: Page, looked: Looked, folder: Path) -> None:
    for name, scheme, width in (
        (looked.narrow, "light", NARROW),
        (looked.dark, "dark", WIDE),
        (looked.picture, "light", WIDE),
    ):
        if name:
            await _turn(page, scheme, width)
            await page.screenshot(path=folder / f"page-{name}.png", animations="disabled")


async def _turn(page: Page, scheme: str, width: int) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.set_viewport_size({"width": width, "height": 900 if width == WIDE else 812})


async def _beyond(page: Page) -> list[str]:
    """Return what sticks out of the screen to the right, so that the whole page must be moved to see it."""
    found: list[str] = await page.evaluate(
        """() => {
            if (document.documentElement.scrollWidth <= innerWidth) return [];
            const isBeyond = element => element.getBoundingClientRect().right > innerWidth;
            const all = [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll'));
            return all.filter(isBeyond).map(element => element.outerHTML.slice(0, 120));
        }"""
    )
    return [f"beyond the screen: {one}" for one in found]


async def _unreachable(page: Page) -> list[str]:
    """Go through a page by the tabulator; return what it does not reach, and where one cannot see one is."""
    # A field for a moment or a day has a stop for each of its parts.
    stops: int = await page.evaluate(
        """() => {
            document.activeElement?.blur();
            const wanted = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
            window.left = new Set([...document.querySelectorAll(wanted)].filter(element =>
                !element.disabled && element.type !== 'hidden' && element.tabIndex >= 0
                && element.checkVisibility({visibilityProperty: true})
                && !element.closest('dialog:not([open])')
                && !(element.type === 'radio' && !element.checked)));
            window.unseen = [];
            addEventListener('focusin', ({target}) => {
                const {outlineStyle, outlineWidth} = getComputedStyle(target);
                if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2) unseen.push(target);
                left.delete(target);
            });
            return left.size + 8 * document.querySelectorAll('[type=datetime-local], [type=date]').length;
        }"""
    )
    for _ in range(stops):
        await page.keyboard.press("Tab")
    lost, unseen = await page.evaluate(
        "[[...left], unseen].map(some => some.map(element => element.outerHTML.slice(0, 120)))"
    )
    return [f"not reached by Tab: {one}" for one in lost] + [f"focus not visible: {one}" for one in unseen]


def _path(path: str, town: Town) -> str:
    letter = town.letters["refused"][-1]
    return path.format(
        letter=letter.id,
        html=town.letters["html"][0].id,
        message=letter.message_id,
        refusing=letter.endpoint_id,
        endpoint=town.endpoints["Control room"].id,
        odd=town.letters["html"][0].endpoint_id,
        held=town.endpoints["Trading floor"].id,
        pending=town.endpoints["New vendor"].id,
        replay=town.replay,
    )
