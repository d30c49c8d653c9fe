"""Participants: what is theirs, what is open to them, and how their endpoints fare."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import health, participants, tally
from claimbus.portal.pages import render, said
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services

MOST_RESOURCES: Final = 500
"""Entitlements that are listed; the rest is only counted."""

NOTHING: Final = Typed(QueryParams())

router = pages()


@router.get("/participants")
async def listed(request: Request, there: Provided, who: Operating) -> Response:
    """List those that have a text in their ID or organisation's, each with its endpoints counted."""
    typed = of_address(request)
    text = typed.text("text")
    found = await filtered(participants.page(there, who, text=text, cursor=typed.maybe("cursor")))
    states = {}
    if found.value is not None:
        states = await tally.of(there, who, [one.id for one in found.value.rows])
    return render.page(
        request, "operator/participants.html", status=found.status, text=text, found=found, states=states
    )


@router.get("/participants/{participant_id}")
async def shown(request: Request, there: Provided, who: Operating, participant_id: str) -> Response:
    """Show one."""
    return await _show(request, there, who, participant_id)


@router.post("/participants/{participant_id}/event-types")
async def open_event_types(
    request: Request, there: Provided, who: Operating, participant_id: str
) -> Response:
    """Open exactly these event types to it."""
    typed = await of_form(request)
    patterns, reason = typed.text("patterns").split(), typed.text("reason")
    try:
        await participants.open_event_types(there, who, participant_id, patterns, reason=reason)
    except InvalidInputError as wrong:
        return await _show(request, there, who, participant_id, typed=typed, wrong={"patterns": wrong.reason})
    return said.back(f"/participants/{participant_id}", "saved")


@router.post("/participants/{participant_id}/contacts")
async def add_contact(request: Request, there: Provided, who: Operating, participant_id: str) -> Response:
    """Add somebody to be told of its endpoints' troubles."""
    typed = await of_form(request)
    try:
        await participants.add_contact(there, who, participant_id, typed.text("email"))
    except InvalidInputError as wrong:
        return await _show(request, there, who, participant_id, typed=typed, wrong={"email": wrong.reason})
    return said.back(f"/participants/{participant_id}", "saved")


async def _show(
    request: Request,
    there: Services,
    who: Principal,
    participant_id: str,
    *,
    typed: Typed = NOTHING,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """Show a participant; with what was ``typed`` into a form, and what is ``wrong`` with it, by field."""
    whole = await participants.get(there, who, participant_id)
    fares = await health.of(there, who, [one.id for one in whole.endpoints])
    now = datetime.now(UTC)
    current = [one for one in whole.entitlements if one.valid_to is None or one.valid_to > now]
    return render.page(
        request,
        "operator/participant.html",
        status=422 if wrong else 200,
        whole=whole,
        fares=fares,
        entitlements=current[:MOST_RESOURCES],
        owned=len(current),
        ended=len(whole.entitlements) - len(current),
        patterns=typed.text("patterns")
        if wrong and "patterns" in wrong
        else "\n".join(whole.participant.event_types),
        typed=typed,
        wrong=wrong or {},
    )
