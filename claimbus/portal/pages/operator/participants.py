"""Participants: what is theirs, what is open to them, and how their endpoints fare."""

from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue, health, participants, tally
from claimbus.portal.pages import render, said
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services

MOST_RESOURCES: Final = 500
"""Entitlements that are listed; the rest is only counted."""

AT_FIRST: Final = Typed(ImmutableMultiDict({"patterns": "#"}))
"""What the form of a new participant begins with."""

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


@router.get("/participants/new")
async def begin(request: Request, there: Provided, who: Operating) -> Response:
    """Show the form of a new participant."""
    return await _compose(request, there, who, AT_FIRST)


@router.post("/participants/new")
async def add(request: Request, there: Provided, who: Operating) -> Response:
    """Add a participant; its organisation too, if it was said that this is a new one."""
    typed = await of_form(request)
    try:
        added = await participants.add(
            there,
            who,
            typed.needed("id", "give it its ID"),
            typed.needed("organisation", "say whose it is"),
            new_organisation=typed.ticked("founded"),
            patterns=typed.text("patterns").split(),
            reason=typed.needed("reason", "say why; it stands in the audit"),
        )
    except InvalidInputError as wrong:
        field = {"participant": "id", "subscription": "patterns"}.get(wrong.field, wrong.field)
        return await _compose(request, there, who, typed, wrong=InvalidInputError(field, wrong.reason))
    return said.back(f"/participants/{added.id}", "participant")


@router.get("/participants/{participant_id}")
async def shown(request: Request, there: Provided, who: Operating, participant_id: str) -> Response:
    """Show one."""
    whole = await participants.get(there, who, participant_id)
    fares = await health.of(there, who, [one.id for one in whole.endpoints])
    types = [one.name for one in await catalogue.types(there, who)]
    now = datetime.now(UTC)
    current = [one for one in whole.entitlements if one.valid_to is None or one.valid_to > now]
    return render.page(
        request,
        "operator/participant.html",
        whole=whole,
        fares=fares,
        entitlements=current[:MOST_RESOURCES],
        owned=len(current),
        ended=len(whole.entitlements) - len(current),
        types=types,
        opened=[name for name in types if whole.participant.is_entitled(name)],
    )


async def _compose(
    request: Request,
    there: Services,
    who: Principal,
    typed: Typed,
    *,
    wrong: InvalidInputError | None = None,
) -> Response:
    return render.page(
        request,
        "operator/participant_new.html",
        status=422 if wrong else 200,
        organisations=await participants.organisations(there, who),
        typed=typed,
        wrong={} if wrong is None else {wrong.field: wrong.reason},
    )
