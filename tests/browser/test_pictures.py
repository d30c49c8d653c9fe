"""The pictures that the docs show, of an ISO's ordinary day; and that each shows what it should."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from claimbus.events.event import audience_of
from tests.browser.browsing import NARROW, WIDE, WITHIN, Scheme, Visit, beyond, turn, visiting
from tests.browser.scene import HELD, RECEIVING, Scene, set_up
from tests.browser.system import System, running
from tests.services import own_vhost, required

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES: Final = os.environ.get("PICTURES")
"""The folder that the pictures are written to; unset: none are."""

EVENTS: Final = 520
"""Events that come and go while the overview is open, so that its charts have something to show: in about a
minute and a half."""


NOTICE: Final = (
    "From March 1 on, connections below TLS 1.2 are refused. See to it that your systems offer TLS 1.2 or "
    "1.3 before then; 'claimbus tls-check HOST:PORT' tells what a server accepts."
)


class Shown(NamedTuple):
    """A page: its path, who looks, what is to be seen there, and its pictures' names, by how it looks.

    ``typed`` is what is put into its fields, by their labels.
    """

    path: str
    whose: str
    seen: tuple[str, ...]
    wide: str = ""
    dark: str = ""
    narrow: str = ""
    typed: tuple[tuple[str, str], ...] = ()


PAGES: Final = (
    Shown(
        "/overview",
        "operator",
        ("3 endpoints are held", "Trading floor", "Hydro desk", "rejected", "expired"),
        wide="overview",
        dark="overview-dark",
    ),
    Shown("/letters/groups", "operator", ("HTTP 422", "HTTP 503", "HTTP 413", "age limit"), wide="letters"),
    Shown(
        "/letters/replay/choose?endpoint={refusing}&now=yes", "operator", ("Can be sent",), wide="preflight"
    ),
    Shown("/replays/{replay}", "operator", ("14 of 31 done", "shift has changed"), wide="replay"),
    Shown("/participants/PGAE", "operator", ("Control room", "SUNRIV_2_UNIT 1"), wide="participant"),
    Shown(
        "/notices/new?template=tls",
        "operator",
        ("All participants",),
        wide="notice",
        typed=(
            ("Title", "TLS 1.0 and 1.1 end on March 1"),
            ("Text", NOTICE),
            ("Takes effect", "2027-03-01T00:00"),
            ("Where to read more", "https://iso.example/notices/tls"),
        ),
    ),
    Shown(
        "/deliveries/{refusing}/{message}",
        "operator",
        ("3 attempts", "It was given up", "unknown resource"),
        wide="delivery",
    ),
    Shown("/endpoints", "uaa", ("held", "paused", "pending"), wide="endpoints", narrow="endpoints-375"),
    Shown("/endpoints/new", "uaa", ("Where events arrive",), wide="new-endpoint"),
    Shown("/endpoints/{busy}", "uaa", ("Last 24 hours",), wide="endpoint", narrow="endpoint-375"),
    Shown("/endpoints/{held}", "uaa", ("Held since", "What to do"), wide="held-endpoint"),
    Shown("/deliveries", "uaa", ("Control room", "delivered"), wide="deliveries"),
    Shown("/events/oms.resource-outage.status-changed", "uaa", ("Version 2", "mrid"), wide="event-type"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def iso(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    with own_vhost() as amqp_url:
        async with running(
            tmp_path_factory.mktemp("iso"),
            amqp_url=amqp_url,
            redis_url=required("CLAIMBUS_REDIS_URL"),
            key_prefix=f"{amqp_url.rpartition('/')[2]}:",
        ) as system:
            yield system


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(iso: System) -> Scene:
    return await set_up(iso)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def operator(browser: Browser, iso: System, scene: Scene) -> AsyncIterator[Visit]:
    async with visiting(browser, iso.url) as visit:
        await visit.log_in(scene.operator)
        yield visit


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def uaa(browser: Browser, iso: System, scene: Scene) -> AsyncIterator[Visit]:
    async with visiting(browser, iso.url) as visit:
        await visit.log_in(scene.uaa)
        yield visit


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traffic(iso: System, operator: Visit) -> None:
    """For a picture there is something to see: the overview is open while events come and go."""
    if not PICTURES:
        return
    await operator.open("/overview")
    receivers = audience_of([participant for participant, _, _ in RECEIVING])
    for number in range(EVENTS):
        await iso.close_market(1000 + number, audience=receivers)
        await asyncio.sleep(0.15 + 0.1 * math.sin(number / 45) + 0.04 * math.sin(number / 11))


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.wide)
async def test_a_picture_shows_what_it_should(
    shown: Shown, operator: Visit, uaa: Visit, scene: Scene
) -> None:
    visit = operator if shown.whose == "operator" else uaa
    page = await visit.open(_path(shown.path, scene))
    main = page.locator("main")
    assert "HTTP number" not in await main.inner_text()  # the status is said once, and with its number
    for text in shown.seen:
        await expect(main).to_contain_text(text, timeout=WITHIN)
    for label, text in shown.typed:
        await page.get_by_label(label).fill(text)
        await page.get_by_label(label).blur()
    sights: tuple[tuple[str, Scheme, int], ...] = (
        (shown.narrow, "light", NARROW),
        (shown.dark, "dark", WIDE),
        (shown.wide, "light", WIDE),
    )
    for name, scheme, width in sights:
        if name:
            await turn(page, scheme, width)
            assert await beyond(page) == []
            if PICTURES:
                await page.screenshot(path=Path(PICTURES) / f"page-{name}.png", animations="disabled")
    assert visit.faults == []


def _path(path: str, scene: Scene) -> str:
    return path.format(
        refusing=scene.refused.endpoint_id,
        message=scene.refused.message_id,
        busy=scene.endpoints["Control room"].id,
        held=scene.endpoints[HELD[1][0]].id,
        replay=scene.replay,
    )
