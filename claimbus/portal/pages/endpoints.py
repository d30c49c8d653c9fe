"""Endpoints: all that somebody keeps, and one of them, with how it fares."""

import asyncio
from collections.abc import Mapping
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.database.endpoint import Endpoint, Kind, State
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue, deliveries, endpoints, health, recoveries
from claimbus.portal.pages import choosing, endpoint_form, render
from claimbus.portal.pages.parts import Part, filtered, part
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import Typed, of_address
from claimbus.portal.services import Provided, Services

LATEST: Final = 10
RECOVERIES: Final = 5
STATES: Final[tuple[State, ...]] = get_args(State)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
MOST_POLLS: Final = 300
"""A page that watches a test event asks so often, once a second, and then leaves it to its visitor."""

router = pages()


@router.get("/endpoints")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List them, with their health."""
    typed, who = of_address(request), visit.who
    found = await filtered(
        endpoints.page(
            there,
            who,
            participant_id=typed.maybe("participant"),
            state=next((one for one in STATES if one == typed.text("state")), None),
            kind=next((one for one in KINDS if one == typed.text("kind")), None),
            text=typed.text("text"),
            cursor=typed.maybe("cursor"),
        )
    )
    rows = found.value.rows if found.value else ()
    return render.page(
        request,
        "endpoints.html",
        status=found.status,
        found=found,
        health=await part(health.of(there, who, [one.id for one in rows])),
        typed=typed,
        states=STATES,
        is_filtered=bool(typed.only(("participant", "state", "text", "kind", "cursor"))),
    )


@router.get("/endpoints/{endpoint_id}")
async def one(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Show one."""
    return await show(request, there, visit.who, endpoint_id)


async def show(
    request: Request,
    there: Services,
    who: Principal,
    endpoint_id: str,
    *,
    failed: str = "",
    errors: Mapping[str, str] | None = None,
    shown: Mapping[str, str] | None = None,
    chosen: tuple[str, ...] | None = None,
    form: Typed | None = None,
) -> Response:
    """Return an endpoint's page; after a form that ``failed``, with its ``errors`` and what was typed."""
    endpoint = await endpoints.get(there, who, endpoint_id)
    latest, known, recovering, types = await asyncio.gather(
        part(deliveries.find(there, who, deliveries.Wanted(endpoint_id=endpoint_id), limit=LATEST)),
        part(health.of(there, who, [endpoint_id])),
        recoveries.find(there, who, endpoint_id=endpoint_id),
        catalogue.types(there, who),
    )
    domains = choosing.domains(types)
    return render.page(
        request,
        "endpoint.html",
        status=422 if errors else 200,
        endpoint=endpoint,
        health=Part(known.value[endpoint_id]) if known.value else known,
        latest=latest,
        recoveries=recovering[:RECOVERIES],
        domains=domains,
        offered=choosing.offered(domains),
        chosen=endpoint.subscriptions if chosen is None else chosen,
        shown=shown or endpoint_form.shown(endpoint),
        failed=failed,
        errors=errors or {},
        form=form or of_address(request),
    )


@router.get("/endpoints/{endpoint_id}/tests/{message_id}")
async def test_event(
    request: Request, visit: Visiting, there: Provided, endpoint_id: str, message_id: str
) -> Response:
    """Watch a test event arrive."""
    endpoint = await endpoints.get(there, visit.who, endpoint_id)
    asked = _count(request.query_params.get("asked", ""))
    found = await part(_arrived(there, visit.who, endpoint, message_id))
    is_over = found.value is not None and not found.value.last.next.startswith("retry")
    return render.page(
        request,
        "test_event.html",
        endpoint=endpoint,
        message_id=message_id,
        delivery=found,
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


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
