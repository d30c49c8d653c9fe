"""Events on resources that nobody owned: they wait here until somebody lets them go out."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import parked
from claimbus.portal.pages import render
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import of_address, of_form
from claimbus.portal.services import Provided, Services

router = pages()


@router.get("/parked")
async def listed(request: Request, there: Provided, who: Operating) -> Response:
    """List those that wait, or those that were released."""
    return await _list(request, there, who)


@router.post("/parked")
async def release(request: Request, there: Provided, who: Operating) -> Response:
    """Let some go out to their owners, or to the participants named; or all that have an owner."""
    typed = await of_form(request)
    chosen = None if typed.ticked("all") else typed.all("chosen")
    if chosen == ():
        return await _list(request, there, who, wrong={"chosen": "choose the events to release"})
    to = frozenset(typed.text("to").replace(",", " ").split())
    try:
        went = await parked.release(there, who, chosen, to=to, reason=typed.text("reason"))
    except InvalidInputError as wrong:
        field = "to" if wrong.field == "participant" else "chosen"
        return await _list(request, there, who, wrong={field: wrong.reason})
    out = sum(bool(one.owners) for one in went)
    return RedirectResponse(f"/parked?out={out}&stayed={len(went) - out}", 303)


async def _list(
    request: Request, there: Services, who: Principal, *, wrong: Mapping[str, str] | None = None
) -> Response:
    typed = of_address(request)
    released = typed.ticked("released")
    found = await filtered(parked.find(there, who, released=released, cursor=typed.maybe("cursor")))
    return render.page(
        request,
        "operator/parked.html",
        status=422 if wrong else found.status,
        found=found,
        released=released,
        out=typed.whole("out"),
        stayed=typed.whole("stayed"),
        wrong=wrong or {},
    )
