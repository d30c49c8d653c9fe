"""Coming and going: by a token, or by the certificate that the browser shows."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.database import sessions
from claimbus.database.access import Role
from claimbus.portal.pages import render
from claimbus.portal.pages.routes import opened, pages
from claimbus.portal.pages.session import Visiting, cookie_name, is_secure, keep
from claimbus.portal.services import services

START: Final = "/"

router = pages()


@router.get("/")
async def start(visit: Visiting) -> Response:
    """Go where this person begins."""
    who = visit.who
    if who.is_one_of(Role.OPERATOR):
        return RedirectResponse("/overview", 303)
    return RedirectResponse("/audit" if who.is_one_of(Role.ADMIN) else "/endpoints", 303)


@router.get("/login")
@opened
async def form(request: Request, next: str = START) -> Response:  # noqa: A002 - what everybody calls it
    """Show the form; with a certificate that counts, it need only be confirmed."""
    certificate = await services(request).identity.by_certificate(request)
    return render.page(request, "login.html", certificate=certificate, next=_own(next), refused=False)


@router.post("/login")
@opened
async def begin(
    request: Request,
    by: Annotated[str, Form()] = "token",
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = START,  # noqa: A002
) -> Response:
    """Begin a session."""
    there, now = services(request), datetime.now(UTC)
    found = await there.identity.to_begin(request, token.strip() if by == "token" else None)
    if found is None:
        certificate = await there.identity.by_certificate(request)
        context = {"certificate": certificate, "next": _own(next), "refused": True}
        return render.page(request, "login.html", status=401, **context)
    _, cookie = await there.database.run(lambda sql: sessions.begin(sql, found.kind, found.credential, now))
    answer = RedirectResponse(_own(next), 303)
    keep(request, answer, cookie)
    return answer


@router.post("/logout")
async def end(request: Request, visit: Visiting) -> Response:
    """End the session."""
    del visit
    cookie = request.cookies.get(cookie_name(request), "")
    await services(request).database.run(lambda sql: sessions.end(sql, cookie))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(request), secure=is_secure(request), httponly=True)
    return answer


def _own(target: str) -> str:
    """Return where to go on, if it is a path of this site; else the start."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_path else START
