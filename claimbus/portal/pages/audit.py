"""The audit: who did what, when and why."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal, Role
from claimbus.database.audit import Entry, State
from claimbus.database.page import Page
from claimbus.portal.desk import audit
from claimbus.portal.pages import render
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import Typed, of_address
from claimbus.portal.services import Provided, Services

KINDS: Final = (
    "certificate",
    "contact",
    "endpoint",
    "entitlement",
    "event type",
    "letters",
    "notice",
    "participant",
    "replay",
    "token",
)
"""What most entries are about, to choose from; there are others."""
MORE: Final = ("organisation", "since", "until")
"""Filters that are used less."""
FILTERS: Final = ("actor", "kind", "object", *MORE)

router = pages()


class Difference(NamedTuple):
    """What an act changed: a field, as it was and as it is; None where there was or is none."""

    name: str
    before: str | None
    after: str | None


@router.get("/audit")
async def search(request: Request, visit: Visiting, there: Provided) -> Response:
    """List entries, the newest first."""
    typed = of_address(request)
    found = await filtered(_find(there, visit.who, typed))
    return render.page(
        request,
        "audit.html",
        status=found.status,
        found=found,
        typed=typed,
        differences=differences,
        kinds=KINDS,
        sees_all=visit.who.is_one_of(Role.OPERATOR, Role.ADMIN),
        is_filtered=bool(typed.only(FILTERS)),
        is_more=bool(typed.only(MORE)),
    )


def differences(entry: Entry) -> Iterator[Difference]:
    """Yield what an entry tells of before and after."""
    before, after = entry.before or {}, entry.after or {}
    for name in sorted({*before, *after}):
        was, now = _text(before, name), _text(after, name)
        if was != now:
            yield Difference(name.replace("_", " "), was, now)


async def _find(there: Services, who: Principal, typed: Typed) -> Page[Entry]:
    since, until = typed.period()
    wanted = audit.Wanted(
        kind=typed.maybe("kind"),
        object_id=typed.maybe("object"),
        organisation_id=typed.maybe("organisation"),
        actor=typed.maybe("actor"),
        since=since,
        until=until,
    )
    return await audit.find(there, who, wanted, cursor=typed.maybe("cursor"))


def _text(state: State, name: str) -> str | None:
    value = state.get(name)
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value, ensure_ascii=False)
