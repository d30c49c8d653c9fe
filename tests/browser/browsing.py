"""A browser at the portal, that keeps an eye on every page it opens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    async_playwright,
)

from claimbus.cli.development import browser_program

AXE: Final = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WITHIN: Final = 15_000
"""Milliseconds until something must be there."""

NARROW, WIDE = 375, 1440
"""Pixels across: a telephone, and a screen on a desk."""

Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """Somebody's tabs at a portal; ``faults`` are what their pages did that no page may do."""

    url: str
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)

    async def open(self, path: str) -> Page:
        """Open a page in the first tab."""
        await self.page.goto(self.url + path)
        return self.page

    async def tab(self, path: str) -> Page:
        """Open a page in another tab."""
        page = await self.context.new_page()
        await page.goto(self.url + path)
        return page

    async def log_in(self, token: str) -> Page:
        """Log in by the form, and be where that leads."""
        await self.open("/login")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url(lambda url: "/login" not in url)
        return self.page

    def watch(self) -> None:
        """Note errors, violations of the content security policy, and requests to anywhere else."""
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.faults.append(f"{error.page}: {error.error}"))
        self.context.on("request", self._asked)
        self.context.on("dialog", self._interrupted)

    def _said(self, message: ConsoleMessage) -> None:
        # A page with another status is an error to the console; what the tests expect of it they say.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(f"{message.page and message.page.url}: {message.text}")

    async def _interrupted(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog that says {dialog.message}")
        await dialog.dismiss()

    def _asked(self, request: Request) -> None:
        target = urlsplit(request.url)
        if target.scheme not in ("data", "blob") and target.netloc != urlsplit(self.url).netloc:
            self.faults.append(f"a request to {request.url}")


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """The system's Chromium; it ends with the block."""
    program = browser_program()
    assert program, "no Chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 900,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> AsyncIterator[Visit]:
    """A visitor without cookies. At the end no page may have done what none may."""
    context = await browser.new_context(
        ignore_https_errors=True,
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        java_script_enabled=scripts,
        reduced_motion="reduce",
        timezone_id="America/Los_Angeles",
    )
    context.set_default_timeout(WITHIN)
    visit = Visit(url, context, await context.new_page())
    visit.watch()
    try:
        yield visit
        await asyncio.sleep(0)  # for what was said last
        assert visit.faults == []
    finally:
        await context.close()


async def findings(page: Page, **options: Any) -> list[str]:  # noqa: ANN401 - axe's own
    """Have axe-core look at a page; return what is serious or critical, a line for each element."""
    await page.evaluate(f"window.axe || (() => {{ {AXE} }})()")
    found = await page.evaluate(
        "options => axe.run(document, {resultTypes: ['violations'], ...options})", options
    )
    return [
        f"{page.url}: {violation['id']}: {node['target']}: {node['html'][:160]}: "
        f"{node['failureSummary'].splitlines()[-1].strip()}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


async def turn(page: Page, scheme: Scheme, width: int) -> None:
    """Show a page light or dark, on a narrow or a wide screen."""
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 900 if width == WIDE else 812})


async def beyond(page: Page) -> list[str]:
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
