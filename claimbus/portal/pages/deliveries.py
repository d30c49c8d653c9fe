"""What was delivered: found by outage, type, time and verdict; one delivery, try by try; one once more."""

from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from claimbus.database import directory
from claimbus.database.access import Principal, Role
from claimbus.database.attempts import Attempt, Found
from claimbus.database.endpoint import Endpoint
from claimbus.events.catalogue import EVENT_TYPES
from claimbus.portal.desk import deliveries, endpoints
from claimbus.portal.desk.deliveries import Wanted
from claimbus.portal.pages import render, said
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services
from consumers.verdict import Verdict

MORE: Final = ("participant", "since", "until", "message", "replay")
"""Filters that are used less."""
FILTERS: Final = ("partitionkey", "type", "verdict", "endpoint", *MORE)
MOST_POLLS: Final = 60
"""A page that waits for the attempt of what was sent once more asks so often, once a second."""
MOST_TO_CHOOSE: Final = 100
_PLAIN: Final = "!#$&'()*+,/:;=?@[]~"
"""What stands for itself in a ``ce-`` header, besides letters and digits."""

router = pages()


@router.get("/deliveries")
async def search(request: Request, visit: Visiting, there: Provided) -> Response:
    """List attempts, the newest first."""
    typed = of_address(request)
    found = await filtered(_find(there, visit.who, typed, request.query_params.get("cursor")))
    return render.page(
        request,
        "deliveries.html",
        status=found.status,
        found=found,
        typed=typed,
        verdicts=tuple(Verdict),
        types=sorted(EVENT_TYPES),
        unknown_type=typed.text("type") if typed.text("type") not in EVENT_TYPES else "",
        names=await _names(there, found.value),
        choice=await _to_choose(there, visit.who),
        is_filtered=bool(typed.only(FILTERS)),
        is_more=bool(typed.only(MORE)),
        csv=f"/deliveries.csv?{urlencode(typed.pairs(FILTERS))}",
    )


@router.get("/deliveries.csv")
async def download(request: Request, visit: Visiting, there: Provided) -> Response:
    """Give all that a search finds as a file."""
    typed = of_address(request)
    wanted = _wanted(typed)
    await deliveries.find(there, visit.who, wanted, limit=1)  # what is not open fails before the first line
    rows = deliveries.rows_as_csv(there, visit.who, wanted)
    headers = {"content-disposition": 'attachment; filename="deliveries.csv"'}
    return StreamingResponse(rows, headers=headers, media_type="text/csv; charset=utf-8")


@router.get("/deliveries/{endpoint_id}/{message_id}")
async def one(
    request: Request, visit: Visiting, there: Provided, endpoint_id: str, message_id: str
) -> Response:
    """Show one delivery; while it is being sent once more, until that was tried."""
    return await _show(request, there, visit.who, (endpoint_id, message_id))


@router.post("/deliveries/{endpoint_id}/{message_id}/resend")
async def resend(
    request: Request, visit: Visiting, there: Provided, endpoint_id: str, message_id: str
) -> Response:
    """Deliver one once more."""
    typed = await of_form(request)
    try:
        reason = typed.needed("reason", "say why it is sent once more")
        await deliveries.resend(there, visit.who, endpoint_id, message_id, reason=reason)
    except NOT_DONE as wrong:
        failed = Failed.of("resend", typed, wrong)
        return await _show(request, there, visit.who, (endpoint_id, message_id), failed)
    here = f"/deliveries/{quote(endpoint_id)}/{quote(message_id)}"
    return said.back(here, "resent", fragment="attempts")


async def _show(
    request: Request,
    there: Services,
    who: Principal,
    place: tuple[str, str],
    failed: Failed | None = None,
) -> Response:
    asked, failed = of_address(request).count("asked"), failed or Failed()
    delivery = await deliveries.get(there, who, *place)
    is_waiting = any(one.waits for one in delivery.resent[:1]) and asked < MOST_POLLS
    page = render.page(
        request,
        "delivery.html",
        status=failed.status,
        delivery=delivery,
        headers=headers_of,
        asked=asked + 1 if is_waiting else None,
        errors=failed.errors,
        refused=failed.refused,
        typed_reason=failed.typed.text("reason") if failed.typed else "",
    )
    page.headers.update(failed.headers)
    return page


def headers_of(endpoint: Endpoint, attempt: Attempt) -> dict[str, str]:
    """Return the headers of an attempt's request, as far as they are known afterwards.

    What the claim alone has (its time, subject and schema) and the signature are not kept.
    """
    always = {
        "webhook-id": attempt.message_id,
        "webhook-timestamp": str(attempt.started_ms // 1000),
        "webhook-signature": "(not kept)",
        "claimbus-attempt": str(attempt.attempt),
    }
    if attempt.replay is not None:
        always["claimbus-replay"] = attempt.replay
    if endpoint.mode == "claim":
        return {"content-type": "application/cloudevents+json", **always}
    attributes = {
        "specversion": "1.0",
        "id": attempt.event_id,
        "source": attempt.source,
        "type": attempt.type,
        "partitionkey": attempt.partitionkey,
        "sequence": attempt.sequence,
    }
    told = {
        f"ce-{name}": quote(str(value), safe=_PLAIN)
        for name, value in attributes.items()
        if value is not None
    }
    return told | always


async def _find(there: Services, who: Principal, typed: Typed, cursor: str | None) -> Found:
    return await deliveries.find(there, who, _wanted(typed), cursor=cursor)


def _wanted(typed: Typed) -> Wanted:
    since, until = typed.period()
    return Wanted(
        participant_id=typed.maybe("participant"),
        endpoint_id=typed.maybe("endpoint"),
        type=typed.maybe("type"),
        partitionkey=typed.maybe("partitionkey"),
        verdicts=typed.all("verdict") or None,
        message_id=typed.maybe("message"),
        replay=typed.maybe("replay"),
        since=since,
        until=until,
    )


async def _names(there: Services, found: Found | None) -> dict[str, str]:
    """Return the names of the endpoints that are on a page, by their IDs."""
    ids = {one.endpoint_id for one in found.rows} if found else set()
    rows = await there.database.read(lambda sql: directory.many(sql, ids))
    return {one.id: one.name for one in rows}


async def _to_choose(there: Services, who: Principal) -> dict[str, str] | None:
    """Return the names of somebody's endpoints by their IDs; None if they are too many to choose from."""
    if who.is_one_of(Role.OPERATOR):
        return None
    page = await endpoints.page(there, who, limit=MOST_TO_CHOOSE)
    return None if page.cursor else {one.id: one.name for one in page.rows}
