"""Somebody at a browser without scripts: cookies are kept, forms carry what their page gave them."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode

from pyreqwest.client import Client, ClientBuilder

from tests.portal.portals import Got, Portal

Fields = Mapping[str, Sequence[str]]

_CSRF = re.compile(rb'name="csrf" value="([^"]+)"')


@dataclass
class Visitor:
    """A browser at a portal; ``cookies`` and ``csrf`` are what it was last given."""

    portal: Portal
    client: Client
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    async def get(self, path: str, **headers: str) -> Got:
        """Open a page; a redirect is not followed."""
        return await self._ask("GET", path, None, headers)

    async def post(self, path: str, fields: Fields | None = None, **headers: str) -> Got:
        """Send a form of the page that was opened last; a field with a list is there several times."""
        form = {"csrf": self.csrf, **(fields or {})}
        same = {"sec-fetch-site": "same-origin", "origin": self.portal.url}
        return await self._ask("POST", path, urlencode(form, doseq=True), same | headers)

    async def log_in(self, token: str) -> Got:
        """Log in, and open the page that one is led to."""
        await self.get("/login")
        led = await self.post("/login", {"token": token, "by": "token"})
        assert led.status == 303, led.body
        got = await self.get(led.headers["location"])
        return await self.get(got.headers["location"]) if got.status == 303 else got

    async def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Got:
        request = self.client.request(method, self.portal.url + path)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            named.setdefault("content-type", "application/x-www-form-urlencoded")
            request = request.body_text(body)
        response = await request.headers(named).build().send()
        content = (await response.bytes()).to_bytes()
        for cookie in response.headers.getall("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "max-age=0" in cookie.lower():
                del self.cookies[name]
        found = _CSRF.search(content)
        self.csrf = found[1].decode() if found else self.csrf
        return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, content)


@asynccontextmanager
async def visiting(portal: Portal, *, identity: bytes | None = None) -> AsyncIterator[Visitor]:
    """Open a browser, with a client certificate or without."""
    builder = (
        ClientBuilder()
        .add_root_certificate_pem(portal.ca.cert_pem.bytes())
        .no_proxy()
        .follow_redirects(False)
        .timeout(timedelta(seconds=20))
    )
    if identity is not None:
        builder = builder.identity_pem(identity)
    async with builder.build() as client:
        yield Visitor(portal, client)
