"""Who is logged in, by a cookie that stands for a credential and for nothing more."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from claimbus.database import sessions
from claimbus.database.access import Principal
from claimbus.database.engine import Database
from claimbus.database.sessions import Session
from claimbus.portal.problems import ProblemError
from claimbus.portal.services import services

SECURE_COOKIE: Final = "__Host-claimbus"
CLEAR_COOKIE: Final = "claimbus"
"""The cookie's name where the portal listens on loopback, in clear: browsers refuse the other there."""


class LoginRequiredError(ProblemError):
    """Nobody is logged in, or not any more."""

    def __init__(self) -> None:
        super().__init__(401, "log in first")


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is logged in."""

    who: Principal
    session: Session


async def visit_of(request: Request) -> Visit:
    """Return who makes a request. Raises LoginRequiredError, and what a look-up raises.

    It is a use of the session, unless a page asks by itself how far something is.
    """
    known: Visit | None = getattr(request.state, "visit", None)
    if known is not None:
        return known
    cookie, now = request.cookies.get(cookie_name(request)), datetime.now(UTC)
    if cookie is None:
        raise LoginRequiredError
    there = services(request)
    session = await there.database.read(lambda sql: sessions.get(sql, cookie, now))
    who = None if session is None else await there.identity.of_session(session, request)
    if session is None or who is None:
        raise LoginRequiredError
    if "hx-request" not in request.headers:  # a page asks so by itself, also in a tab that nobody sees
        await note_use(there.database, session, cookie, now)
    visit = Visit(who, session)
    request.state.visit = visit
    return visit


async def note_use(database: Database, session: Session, cookie: str, now: datetime) -> None:
    """Write down that a session is in use, at most once a minute; its end after 12 hours stays."""
    if now - session.seen_at >= sessions.SEEN_EVERY:
        await database.run(lambda sql: sessions.note_use(sql, cookie, now))


def cookie_name(request: Request) -> str:
    """Return the name of the cookie: one that only this host can set, over TLS, wherever there is TLS."""
    return SECURE_COOKIE if is_secure(request) else CLEAR_COOKIE


def is_secure(request: Request) -> bool:
    """Tell whether the browser speaks TLS: with us, or with a proxy in front of us."""
    return (services(request).public_url or str(request.url)).startswith("https:")


def keep(request: Request, response: Response, cookie: str) -> None:
    """Give a browser the cookie of its session."""
    response.set_cookie(
        cookie_name(request),
        cookie,
        max_age=int(sessions.LONGEST.total_seconds()),
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


Visiting = Annotated[Visit, Depends(visit_of)]
"""A route's parameter: who is logged in."""
