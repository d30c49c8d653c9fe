"""Every main page: nothing serious for axe-core, all of it by keyboard, nothing said that should not be."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.browsing import NARROW, WIDE, Scheme, Visit, beyond, findings, turn, visiting
from tests.browser.seed import Town
from tests.browser.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIGHTS: Final[tuple[tuple[Scheme, int], ...]] = (("dark", NARROW), ("light", WIDE))
"""How each page is looked at; in this order, so that in the end the menu is there."""


class Looked(NamedTuple):
    """A page to look at: its path, and who looks."""

    path: str
    whose: str


PAGES: Final = {
    "overview": Looked("/overview", "operator"),
    "groups": Looked("/letters/groups", "operator"),
    "letters": Looked("/letters?endpoint={odd}", "operator"),
    "letter": Looked("/letters/{letter}", "operator"),
    "html letter": Looked("/letters/{html}", "operator"),
    "preflight": Looked("/letters/replay/choose?endpoint={refusing}&now=yes", "operator"),
    "discarding": Looked("/letters/discard/choose?endpoint={refusing}", "operator"),
    "replays": Looked("/replays", "operator"),
    "replay": Looked("/replays/{replay}", "operator"),
    "participants": Looked("/participants", "operator"),
    "participant": Looked("/participants/PGAE", "operator"),
    "new participant": Looked("/participants/new", "operator"),
    "a participant's event types": Looked("/participants/PGAE/event-types", "operator"),
    "a participant's new resource": Looked("/participants/PGAE/own", "operator"),
    "a participant's new contact": Looked("/participants/PGAE/tell", "operator"),
    "groups by hour": Looked("/letters/groups?by=hour", "operator"),
    "journal": Looked("/journal", "operator"),
    "journal's entries": Looked("/journal?type=market.%23", "operator"),
    "parked": Looked("/parked", "operator"),
    "notice": Looked("/notices/new", "operator"),
    "event types": Looked("/event-types", "operator"),
    "retired type": Looked("/event-types/market.dam.closed", "operator"),
    "operator's audit": Looked("/audit", "operator"),
    "all endpoints": Looked("/endpoints", "operator"),
    "endpoints": Looked("/endpoints", "uaa"),
    "held endpoints": Looked("/endpoints?state=held", "uaa"),
    "new endpoint": Looked("/endpoints/new", "uaa"),
    "endpoint": Looked("/endpoints/{endpoint}", "uaa"),
    "held endpoint": Looked("/endpoints/{held}", "uaa"),
    "pending endpoint": Looked("/endpoints/{pending}", "uaa"),
    "deliveries": Looked("/deliveries", "uaa"),
    "more filters": Looked("/deliveries?since=2026-01-01T00:00&verdict=failed", "uaa"),
    "UAA's replays": Looked("/replays", "uaa"),
    "recoveries": Looked("/recoveries", "uaa"),
    "credentials": Looked("/credentials", "uaa"),
    "delivery": Looked("/deliveries/{refusing}/{message}", "operator"),
    "UAA's groups": Looked("/letters/groups", "uaa"),
    "catalogue": Looked("/events", "uaa"),
    "event type": Looked("/events/oms.resource-outage.status-changed", "uaa"),
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


@pytest.mark.parametrize("name", PAGES)
async def test_everybody_can_use_it(name: str, operator: Visit, uaa: Visit, town: Town) -> None:
    looked = PAGES[name]
    visit = operator if looked.whose == "operator" else uaa
    page = await visit.open(_path(looked.path, town))
    assert await page.locator("h1").count() == 1, (await page.inner_text("body"))[:500]
    found = []
    for scheme, width in SIGHTS:
        await turn(page, scheme, width)
        found += [f"{scheme}, {width}: {line}" for line in await findings(page)]
        found += await beyond(page)
        found += await _stacked_badly(page)
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
    await turn(page, "light", NARROW)
    await link.wait_for(state="hidden")
    await page.get_by_text("Menu").click()
    await link.click()
    await page.wait_for_url("**/audit")
    await turn(page, "light", WIDE)
    await link.wait_for()


async def test_what_is_chosen_by_hand_stays_light_or_dark(uaa: Visit) -> None:
    page = await uaa.open("/endpoints")
    await page.get_by_role("button", name="Switch between light and dark").click()
    await page.reload()
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    assert await findings(page) == []
    await page.get_by_role("button", name="Switch between light and dark").click()


async def _stacked_badly(page: Page) -> list[str]:
    """Return names of cells that run into what is beside or below them, and a gap between menu and content.

    Both are of narrow screens: there the menu is above, and a table's row is a card whose cells have names.
    """
    found: list[str] = await page.evaluate(
        """() => {
            if (innerWidth > 640) return [];
            const pen = document.createElement('canvas').getContext('2d'), names = new Set();
            for (const cell of document.querySelectorAll('table.stack td[data-name]')) {
                const style = getComputedStyle(cell, '::before');
                pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
                if (pen.measureText(cell.dataset.name).width > parseFloat(style.width))
                    names.add(`no room for a cell's name: ${cell.dataset.name}`);
            }
            const [above, below] = ['nav', 'main'].map(
                name => document.querySelector(name).getBoundingClientRect());
            return below.top - above.bottom > 40 ? [...names, 'a gap below the menu'] : [...names];
        }"""
    )
    return found


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
