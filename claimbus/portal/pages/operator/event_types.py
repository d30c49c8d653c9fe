"""The life of event types: from when they are deprecated, and when they end."""

from datetime import UTC, date, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.events.catalogue import Retirement, lookup
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue
from claimbus.portal.pages import render, said
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_form
from claimbus.portal.services import Provided, Services

MENU: Final = "/events"
"""Where these pages are in the menu: under the catalogue."""

router = pages()


@router.get("/event-types")
async def listed(request: Request, there: Provided, who: Operating) -> Response:
    """List all types, with their dates; those first that are being retired."""
    types = await catalogue.types(there, who)
    rows = sorted(((one, stage(one.dates)) for one in types), key=lambda row: row[1] == "active")
    return render.page(request, "operator/event_types.html", path=MENU, rows=rows)


@router.get("/event-types/{name}")
async def one(request: Request, there: Provided, who: Operating, name: str) -> Response:
    """Show a type's dates, to be changed."""
    return await _show(request, there, who, name, Failed())


@router.post("/event-types/{name}")
async def change(request: Request, there: Provided, who: Operating, name: str) -> Response:
    """Set a type's dates, or go back to the catalogue's own."""
    typed = await of_form(request)
    try:
        reason = typed.needed("reason", "say why; it stands in the audit")
        await catalogue.set_dates(there, who, name, *_dates(typed), reason=reason)
    except NOT_DONE as wrong:
        return await _show(request, there, who, name, Failed.of("dates", typed, wrong))
    return said.back(f"/event-types/{name}", "saved")


def stage(dates: Retirement) -> str:
    """Return where in its life a type is today: ``active``, ``announced``, ``deprecated`` or ``sunset``."""
    today = datetime.now(UTC).date()
    if dates.sunset is not None and dates.sunset <= today:
        return "sunset"
    if dates.deprecated is not None and dates.deprecated <= today:
        return "deprecated"
    return "active" if dates == Retirement(None, None) else "announced"


async def _show(request: Request, there: Services, who: Principal, name: str, failed: Failed) -> Response:
    lookup(name)
    typed = failed.typed
    kind = next(one for one in await catalogue.types(there, who) if one.name == name)
    known = {field: day and day.isoformat() for field, day in kind.dates._asdict().items()}
    page = render.page(
        request,
        "operator/event_type.html",
        path=MENU,
        status=failed.status,
        kind=kind,
        stage=stage(kind.dates),
        dates=known if typed is None else {field: typed.text(field) for field in known},
        reason="" if typed is None else typed.text("reason"),
        wrong=failed.errors,
        refused=failed.refused,
    )
    page.headers.update(failed.headers)
    return page


def _dates(typed: Typed) -> Retirement:
    """Return the dates to set; none when the catalogue's own are to count again."""
    if typed.ticked("reset"):
        return Retirement(None, None)
    dates = Retirement(_day(typed, "deprecated"), _day(typed, "sunset"))
    if dates == Retirement(None, None):
        raise InvalidInputError("deprecated", "give it, or the end, or both")
    return dates


def _day(typed: Typed, name: str) -> date | None:
    text = typed.text(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as wrong:
        raise InvalidInputError(name, f"{text!r:.40} is no date such as 2026-03-05") from wrong
