"""Events on resources that nobody owned: they wait here until somebody lets them go out."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import parked
from claimbus.portal.pages import render
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import of_address, of_form
from claimbus.portal.services import Provided, Services

FIELDS: Final[Mapping[str, str]] = {"participant": "to", "event": "chosen"}
"""Where the form has what the desk found wrong, if it calls it otherwise."""

router = pages()


@router.get("/parked")
async def listed(request: Request, there: Provided, who: Operating) -> Response:
    """List those that wait, or those that were released."""
    return await _list(request, there, who, Failed())


@router.post("/parked")
async def release(request: Request, there: Provided, who: Operating) -> Response:
    """Let some go out to their owners, or, for a reason, to those named; or all that have an owner."""
    typed = await of_form(request)
    chosen = None if typed.ticked("all") else typed.all("chosen")
    to = frozenset(typed.text("to").replace(",", " ").split())
    try:
        if chosen == ():
            raise InvalidInputError("chosen", "choose the events to release")
        went = await parked.release(there, who, chosen, to=to, reason=typed.text("reason"))
    except NOT_DONE as wrong:
        return await _list(request, there, who, Failed.of("release", typed, wrong))
    out = sum(bool(one.owners) for one in went)
    return RedirectResponse(f"/parked?out={out}&stayed={len(went) - out}", 303)


async def _list(request: Request, there: Services, who: Principal, failed: Failed) -> Response:
    typed = of_address(request)
    released = typed.ticked("released")
    found = await filtered(parked.find(there, who, released=released, cursor=typed.maybe("cursor")))
    page = render.page(
        request,
        "operator/parked.html",
        status=found.status if failed.status == 200 else failed.status,
        found=found,
        released=released,
        out=typed.whole("out"),
        stayed=typed.whole("stayed"),
        again=failed.typed or typed,
        wrong={FIELDS.get(name, name): reason for name, reason in failed.errors.items()},
        refused=failed.refused,
    )
    page.headers.update(failed.headers)
    return page
