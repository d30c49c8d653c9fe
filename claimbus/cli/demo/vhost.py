"""A vhost of the demo's own, made and removed by RabbitMQ's management API."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from claimbus.events.errors import UnavailableError

_PATIENCE: Final = 30.0
"""Seconds for one answer."""

_ALL: Final = {"configure": ".*", "write": ".*", "read": ".*"}


@asynccontextmanager
async def own_vhost(management_url: str, amqp_url: str, name: str) -> AsyncIterator[str]:
    """Make a vhost for the user of ``amqp_url`` and yield its URL; it goes at the end, with all in it.

    Raises UnavailableError when the API does not do as told.
    """
    parts = urlsplit(amqp_url)
    user = quote(unquote(parts.username or "guest"), safe="")
    await asyncio.to_thread(_call, management_url, "PUT", f"vhosts/{name}", {})
    try:
        await asyncio.to_thread(_call, management_url, "PUT", f"permissions/{name}/{user}", _ALL)
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        await asyncio.to_thread(_call, management_url, "DELETE", f"vhosts/{name}", None)


def _call(management_url: str, method: str, path: str, body: object) -> None:
    parts = urlsplit(management_url)
    netloc, base = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
    url = urlunsplit((parts.scheme, netloc, f"{base}/api/{path}", "", ""))
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - the management API's own address
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE).close()  # noqa: S310
    except OSError as error:
        raise UnavailableError(f"RabbitMQ's management API: {method} {path}: {error}") from error
