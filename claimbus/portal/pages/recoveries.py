"""Recoveries: what an endpoint missed is delivered again; one sees how far that is, and may stop it."""

from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database import directory
from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import endpoints, recoveries
from claimbus.portal.pages import render, said
from claimbus.portal.pages.endpoints import RECOVERIES, show
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import of_address, of_form
from claimbus.portal.services import Provided, Services

A_PAGE: Final = 50

router = pages()


@router.get("/recoveries")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List them, the newest first: all that somebody may see, or an endpoint's."""
    return await _list(request, there, visit.who, Failed())


@router.post("/recoveries/{recovery_id}/stop")
async def stop(request: Request, visit: Visiting, there: Provided, recovery_id: str) -> Response:
    """Stop one that runs, and lead to its endpoint's."""
    typed = await of_form(request)
    try:
        stopped = await recoveries.stop(there, visit.who, recovery_id, reason=typed.text("reason"))
    except NOT_DONE as wrong:
        return await _list(request, there, visit.who, Failed.of("stop", typed, wrong))
    return said.back("/recoveries", "stopped", endpoint=stopped.endpoint_id)


@router.post("/endpoints/{endpoint_id}/recover")
async def recover(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Begin one: deliver again what the journal holds since a time."""
    typed = await of_form(request)
    try:
        since, until = typed.period()
        await recoveries.start(
            there,
            visit.who,
            endpoint_id,
            _given(since),
            until=until,
            type_=typed.maybe("type"),
            all_=typed.ticked("everything"),
            reason=typed.text("reason"),
        )
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of("recover", typed, wrong))
    return said.back(f"/endpoints/{endpoint_id}", "recovering", fragment="recovering")


async def _list(request: Request, there: Services, who: Principal, failed: Failed) -> Response:
    typed = of_address(request)
    endpoint_id = typed.maybe("endpoint")
    endpoint = await endpoints.get(there, who, endpoint_id) if endpoint_id else None
    limit = RECOVERIES if typed.ticked("few") else A_PAGE
    found = await filtered(
        recoveries.find(there, who, endpoint_id=endpoint_id, cursor=typed.maybe("cursor"), limit=limit)
    )
    ids = {one.endpoint_id for one in found.value.rows} if found.value else set()
    named = await there.database.read(lambda sql: directory.many(sql, ids))
    page = render.page(
        request,
        "recoveries.html",
        status=found.status if failed.status == 200 else failed.status,
        found=found,
        endpoint=endpoint,
        names={one.id: one.name for one in named},
        errors=failed.errors,
        refused=failed.refused,
        failed=failed.form,
    )
    page.headers.update(failed.headers)
    return page


def _given(since: datetime | None) -> datetime:
    if since is None:
        raise InvalidInputError("since", "say from when on")
    return since
