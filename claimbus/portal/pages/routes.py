"""Routes whose answers are pages: errors too, and everything that a page needs to be safe."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import structlog
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.events.errors import ClaimbusError
from claimbus.portal import problems
from claimbus.portal.pages import render, security
from claimbus.portal.pages.session import LoginRequiredError, visit_of
from claimbus.portal.problems import ProblemError

_log = structlog.get_logger("claimbus.portal.pages")

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route of pages. One that is ``open`` to everybody is marked so by its endpoint's attribute."""

    def get_route_handler(self) -> Handle:
        """Return the handler, guarded."""
        handle: Handle = super().get_route_handler()
        is_open = getattr(self.endpoint, "is_open", False)

        async def guarded(request: Request) -> Response:
            try:
                if request.method in security.UNSAFE:
                    await _check_form(request, is_open=is_open)
                elif not is_open:
                    await visit_of(request)
                response = await handle(request)
            except LoginRequiredError:
                response = _to_login(request)
            except (ClaimbusError, HTTPException, RequestValidationError) as error:
                response = await render.problem(request, problems.problem_of(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, who looks gets a page
                _log.exception("failed", path=request.url.path)
                response = await render.problem(request, problems.problem_of(error))
            return security.secured(response)

        return guarded


def pages() -> APIRouter:
    """Return a router of pages, none of which is in the API's documentation."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def opened(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Mark an endpoint as open to everybody: it needs no session."""
    endpoint.is_open = True  # type: ignore[attr-defined]  # a function takes attributes
    return endpoint


async def _check_form(request: Request, *, is_open: bool) -> None:
    security.check_origin(request)
    visit = None if is_open else await visit_of(request)
    await security.read_form(request)
    if visit is not None and not visit.session.allows(await security.token_of(request)):
        raise ProblemError(403, "this form is of another session: load its page again")


def _to_login(request: Request) -> Response:
    """Send a browser to the login, and from there back; a script is told to go there as a whole."""
    shown = _shown(request)
    here = shown.path + (f"?{shown.query}" if shown.query else "")
    target = "/login" if request.method != "GET" else f"/login?next={quote(here)}"
    if "hx-request" in request.headers:
        return Response(status_code=200, headers={"hx-redirect": target})
    return RedirectResponse(target, status_code=303)


def _shown(request: Request) -> SplitResult:
    """Return the address that a browser shows: of the page whose script asks, or of what is asked for."""
    try:
        return urlsplit(request.headers.get("hx-current-url", str(request.url)))
    except ValueError:
        return urlsplit("/")
