"""What is live: server-sent events that carry a piece of a page, for as long as its visitor may see it.

A stream ends with its session and is no use of it, unless it says that it is. The operators' overview does:
it hangs on a wall where nobody clicks, and must not go dark after half an hour. Only what is looked at counts
(portal.js closes the stream of a page that nobody sees), and no other page's stream. The session's end after
12 hours stays, and what was revoked or logged out ends within a look.
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
from claimbus.portal.pages.session import Visit, cookie_name, note_use
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


def streamed(request: Request, visit: Visit, look: Look, *, is_use: bool = False) -> StreamingResponse:
    """Return an answer that goes on until the session ends, or the portal, or whoever asked goes away.

    With ``is_use`` it counts as a use of the session for as long as it is open.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    messages = _messages(request, visit, look, is_use=is_use)
    return StreamingResponse(messages, headers=headers, media_type="text/event-stream")


async def _messages(request: Request, visit: Visit, look: Look, *, is_use: bool) -> AsyncIterator[str]:
    stopping = services(request).stopping
    yield f"retry: {AGAIN_MS}\n\n"
    said = time.monotonic()
    while not stopping.is_set():
        who = await _still(request, visit, is_use=is_use)
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


async def _still(request: Request, visit: Visit, *, is_use: bool) -> Principal | None:
    """Return whoever's session it still is, None when it ended. A database that is away ends none."""
    now = datetime.now(UTC)
    try:
        return await _seen(request, now, is_use=is_use)
    except UnavailableError:
        return visit.who if now < visit.session.expires_at else None


async def _seen(request: Request, now: datetime, *, is_use: bool) -> Principal | None:
    there, cookie = services(request), request.cookies.get(cookie_name(request), "")
    session = await there.database.read(lambda sql: sessions.get(sql, cookie, now))
    if session is None:
        return None
    who = await there.identity.of_session(session, request)
    if who is not None and is_use:
        await note_use(there.database, session, cookie, now)
    return who
