"""What is changed about a participant: each change on a page of its own, which asks why."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.database.entitlements import Entitlement
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import participants
from claimbus.portal.desk.participants import Whole
from claimbus.portal.pages import render, said
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services

Change = Literal["event-types", "own", "end", "tell", "forget"]
"""Open event types, own a resource, end that; tell a contact of what happens, or no more."""

FIELDS: Final[Mapping[str, str]] = {
    "subscription": "patterns",
    "contact": "email",
    "resource_id": "resource",
    "valid_to": "to",
}
"""Where a form has what the desk found wrong, if it calls it otherwise."""

router = pages()


@router.get("/participants/{participant_id}/{change}")
async def ask(
    request: Request, there: Provided, who: Operating, participant_id: str, change: Change
) -> Response:
    """Show the form of a change, and what it means."""
    whole = await participants.get(there, who, participant_id)
    return _asked(request, whole, change, of_address(request), Failed())


@router.post("/participants/{participant_id}/{change}")
async def make(
    request: Request, there: Provided, who: Operating, participant_id: str, change: Change
) -> Response:
    """Make a change."""
    typed, whole = await of_form(request), await participants.get(there, who, participant_id)
    try:
        reason = typed.needed("reason", "say why; it stands in the audit")
        await _MAKING[change](there, who, whole, typed, reason)
    except NOT_DONE as wrong:
        return _asked(request, whole, change, typed, Failed.of(change, typed, wrong))
    return said.back(f"/participants/{participant_id}", "saved")


async def _open(there: Services, who: Principal, whole: Whole, typed: Typed, reason: str) -> None:
    patterns = typed.text("patterns").split()
    await participants.open_event_types(there, who, whole.participant.id, patterns, reason=reason)


async def _own(there: Services, who: Principal, whole: Whole, typed: Typed, reason: str) -> None:
    wanted = Entitlement(
        typed.needed("resource", "say which"),
        whole.participant.id,
        typed.moment("from") or datetime.now(UTC),
        typed.moment("to"),
    )
    if wanted.valid_to is not None and wanted.valid_to <= wanted.valid_from:
        raise InvalidInputError("to", "is not later than the beginning")
    await participants.entitle(there, who, wanted, new=True, reason=reason)


async def _end(there: Services, who: Principal, whole: Whole, typed: Typed, reason: str) -> None:
    held = _chosen(whole, typed)
    ends = typed.moment("to") or max(datetime.now(UTC), held.valid_from)
    await participants.entitle(there, who, replace(held, valid_to=ends), reason=reason)


async def _tell(there: Services, who: Principal, whole: Whole, typed: Typed, reason: str) -> None:
    await participants.add_contact(there, who, whole.participant.id, typed.text("email"), reason=reason)


async def _forget(there: Services, who: Principal, whole: Whole, typed: Typed, reason: str) -> None:
    await participants.remove_contact(there, who, whole.participant.id, typed.text("email"), reason=reason)


_MAKING: Final[Mapping[Change, Callable[[Services, Principal, Whole, Typed, str], Awaitable[None]]]] = {
    "event-types": _open,
    "own": _own,
    "end": _end,
    "tell": _tell,
    "forget": _forget,
}


def _chosen(whole: Whole, typed: Typed) -> Entitlement:
    """Return the entitlement of this ``resource`` that begins at this moment, as links have it."""
    resource, begin = typed.text("resource"), typed.moment("begin")
    for one in whole.entitlements:
        if begin is not None and one.key == Entitlement(resource, whole.participant.id, begin).key:
            return one
    raise InvalidInputError("resource", "it does not own that")


def _asked(request: Request, whole: Whole, change: Change, typed: Typed, failed: Failed) -> Response:
    opened = "\n".join(whole.participant.event_types)
    page = render.page(
        request,
        "operator/participant_change.html",
        status=failed.status,
        change=change,
        one=whole.participant,
        held=_chosen(whole, typed) if change == "end" else None,
        patterns=typed.text("patterns") if failed.form else opened,
        typed=typed,
        wrong={FIELDS.get(name, name): reason for name, reason in failed.errors.items()},
        refused=failed.refused,
    )
    page.headers.update(failed.headers)
    return page
