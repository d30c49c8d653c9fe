"""A program at the API: it sends JSON, and shows a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import orjson
from pyreqwest.client import Client, ClientBuilder

from tests.portal.portals import Got, Portal


@dataclass
class Program:
    """A connection to a portal, and the token that goes with each request unless another is given."""

    portal: Portal
    client: Client
    token: str | None = None

    async def ask(
        self, method: str, path: str, document: object = None, *, token: str | None = None, **headers: str
    ) -> Got:
        """Make a request, with a document if there is one."""
        request = self.client.request(method, self.portal.url + path)
        request = request.headers({name.replace("_", "-"): value for name, value in headers.items()})
        if document is not None:
            request = request.header("content-type", "application/json").body_bytes(orjson.dumps(document))
        if shown := token or self.token:
            request = request.bearer_auth(shown)
        response = await request.build().send()
        body = (await response.bytes()).to_bytes()
        return Got(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    async def get(self, path: str, *, token: str | None = None) -> Got:
        """Make a GET request."""
        return await self.ask("GET", path, token=token)

    async def post(self, path: str, document: object = None, *, token: str | None = None) -> Got:
        """Make a POST request; without a document an empty one."""
        return await self.ask("POST", path, {} if document is None else document, token=token)


@asynccontextmanager
async def asking(portal: Portal, token: str | None = None) -> AsyncIterator[Program]:
    """A program until the end of the block."""
    builder = ClientBuilder().add_root_certificate_pem(portal.ca.cert_pem.bytes()).no_proxy()
    client = builder.timeout(timedelta(seconds=30)).build()
    try:
        yield Program(portal, client, token)
    finally:
        await client.close()
