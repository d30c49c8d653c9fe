"""What is live: server-sent events that carry a piece of a page, for as long as its visitor may see it.

A stream holds a session open no longer than its pages would: looking at one is no use of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

from claimbus.database import sessions
from claimbus.database.access import Principal
from claimbus.events.errors import UnavailableError
from claimbus.portal.pages.session import Visit, cookie_name
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import services

EVERY: Final = 0.4
"""Seconds from a look to the next: with what is looked at kept for a second, news is there within two."""

BEAT: Final = 10.0
"""Seconds without news after which a comment says that the stream lives, so that nothing between cuts it."""

AGAIN_MS: Final = 2000
"""Milliseconds after which a browser that lost its stream asks again."""

Look = Callable[[Principal], Awaitable[str | None]]
"""Returns the HTML to show to somebody; None when it is as it was. Its ForbiddenError ends the stream."""


def streamed(request: Request, visit: Visit, look: Look) -> StreamingResponse:
    """Return an answer that goes on until the session ends, or the portal, or whoever asked goes away."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_messages(request, visit, look), headers=headers, media_type="text/event-stream")


async def _messages(request: Request, visit: Visit, look: Look) -> AsyncIterator[str]:
    stopping = services(request).stopping
    yield f"retry: {AGAIN_MS}\n\n"
    said = time.monotonic()
    while not stopping.is_set():
        who = await _still(request, visit)
        try:
            shown = None if who is None else await look(who)
        except ForbiddenError:
            who = None
        except UnavailableError:
            shown = None  # what was shown goes on being shown; a part that is away says so itself
        if who is None:
            yield "event: end\ndata: the session is over\n\n"
            return
        if shown is not None:
            yield "".join(f"data: {line}\n" for line in shown.splitlines()) + "\n"
            said = time.monotonic()
        elif time.monotonic() - said >= BEAT:
            yield ": still here\n\n"
            said = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await stopping.wait()


async def _still(request: Request, visit: Visit) -> Principal | None:
    """Return whoever's session it still is, None when it ended. A database that is away ends none."""
    there, now = services(request), datetime.now(UTC)
    cookie = request.cookies.get(cookie_name(request), "")
    try:
        session = await there.database.read(lambda sql: sessions.get(sql, cookie, now))
        return None if session is None else await there.identity.of_session(session, request)
    except UnavailableError:
        return visit.who if now < visit.session.expires_at else None
