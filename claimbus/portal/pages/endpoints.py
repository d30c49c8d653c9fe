"""Endpoints: all that somebody keeps, and one of them, with how it fares."""

import asyncio
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint, Kind
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue, credentials, deliveries, endpoints, health, recoveries
from claimbus.portal.desk.credentials import Credential
from claimbus.portal.pages import choosing, endpoint_form, render
from claimbus.portal.pages.failed import Failed
from claimbus.portal.pages.parts import Part, filtered, part
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.standing import STANDINGS, Standing, advice, last_failure, tally
from claimbus.portal.pages.typed import of_address
from claimbus.portal.services import Provided, Services

LATEST: Final = 10
RECOVERIES: Final = 5
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FILTERS: Final = ("participant", "state", "text", "kind", "cursor")
MOST_POLLS: Final = 300
"""A page that watches a test event asks so often, once a second, and then leaves it to its visitor."""

router = pages()


@router.get("/endpoints")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List them, with their health."""
    typed, who = of_address(request), visit.who
    wanted = STANDINGS.get(typed.text("state"), Standing(None))
    found = await filtered(
        endpoints.page(
            there,
            who,
            participant_id=typed.maybe("participant"),
            state=wanted.state,
            held=wanted.held,
            kind=next((one for one in KINDS if one == typed.text("kind")), None),
            text=typed.text("text"),
            cursor=typed.maybe("cursor"),
        )
    )
    rows = found.value.rows if found.value else ()
    known = await part(health.of(there, who, [one.id for one in rows]))
    is_filtered = bool(typed.only(FILTERS))
    is_all = found.value is not None and found.value.cursor is None and not is_filtered
    return render.page(
        request,
        "endpoints.html",
        status=found.status,
        found=found,
        health=known,
        typed=typed,
        standings=tuple(STANDINGS),
        counts=tally(rows, known.value or {}) if is_all else {},
        is_filtered=is_filtered,
    )


@router.get("/endpoints/{endpoint_id}")
async def one(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Show one."""
    return await show(request, there, visit.who, endpoint_id)


async def show(
    request: Request, there: Services, who: Principal, endpoint_id: str, failed: Failed | None = None
) -> Response:
    """Return an endpoint's page; after a form that failed, with what was typed into it."""
    endpoint, failed = await endpoints.get(there, who, endpoint_id), failed or Failed()
    latest, known, recovering, types, ending = await asyncio.gather(
        part(deliveries.find(there, who, deliveries.Wanted(endpoint_id=endpoint_id), limit=LATEST)),
        part(health.of(there, who, [endpoint_id])),
        part(recoveries.find(there, who, endpoint_id=endpoint_id, limit=RECOVERIES)),
        catalogue.types(there, who),
        _first_to_end(there, who),
    )
    domains = choosing.domains(types)
    again = {failed.form: failed.typed} if failed.typed else {}
    settings, subscriptions = again.get("settings"), again.get("subscriptions")
    page = render.page(
        request,
        "endpoint.html",
        status=failed.status,
        endpoint=endpoint,
        health=Part(known.value[endpoint_id]) if known.value else known,
        advice=advice(last_failure(latest.value.rows if latest.value else ())),
        latest=latest,
        recoveries=recovering,
        ending=ending,
        domains=domains,
        offered=choosing.offered(domains),
        examples=choosing.examples(domains),
        chosen=choosing.patterns(subscriptions) if subscriptions else endpoint.subscriptions,
        shown=endpoint_form.as_typed(settings) if settings else endpoint_form.shown(endpoint),
        form=again.get("recover") or of_address(request),
        failed=failed.form,
        errors=failed.errors,
        refused=failed.refused,
        typed_reason=failed.typed.text("reason") if failed.typed else "",
    )
    page.headers.update(failed.headers)
    return page


async def _first_to_end(there: Services, who: Principal) -> Credential | None:
    """Return the credential of somebody's own organisation that ends first; operators have a list of all."""
    if not who.is_one_of(Role.UAA) or who.is_one_of(Role.OPERATOR):
        return None
    found = await part(credentials.find(there, who, limit=1))
    return next(iter(found.value.rows if found.value else ()), None)


@router.get("/endpoints/{endpoint_id}/tests/{message_id}")
async def test_event(
    request: Request, visit: Visiting, there: Provided, endpoint_id: str, message_id: str
) -> Response:
    """Watch a test event arrive."""
    endpoint = await endpoints.get(there, visit.who, endpoint_id)
    asked = of_address(request).count("asked")
    found, known = await asyncio.gather(
        part(_arrived(there, visit.who, endpoint, message_id)),
        part(health.of(there, visit.who, [endpoint_id])),
    )
    is_over = found.value is not None and not found.value.last.next.startswith(("retry", "keep"))
    return render.page(
        request,
        "test_event.html",
        endpoint=endpoint,
        message_id=message_id,
        delivery=found,
        health=known.value[endpoint_id] if known.value else None,
        is_over=is_over,
        asked=None if is_over or asked >= MOST_POLLS else asked + 1,
    )


async def _arrived(
    there: Services, who: Principal, endpoint: Endpoint, message_id: str
) -> deliveries.Delivery | None:
    try:
        return await deliveries.get(there, who, endpoint.id, message_id)
    except InvalidInputError:  # not tried yet
        return None
