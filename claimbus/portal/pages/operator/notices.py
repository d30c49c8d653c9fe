"""Notices to participants: written, looked at as they will go out, then published."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, get_args
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.database import endpoints
from claimbus.database.access import Principal
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import new_id
from claimbus.events.routing import matches
from claimbus.events.schemas import NoticeKind
from claimbus.portal.desk import notices, participants
from claimbus.portal.desk.notices import Draft
from claimbus.portal.pages import render
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services

KINDS: Final[tuple[NoticeKind, ...]] = get_args(NoticeKind)

TEMPLATES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "tls": {
            "kind": "protocol-disabled",
            "title": "TLS 1.0 and 1.1 end on DATE",
            "text": "From DATE on, connections below TLS 1.2 are refused. See to it that your systems offer "
            "TLS 1.2 or 1.3 before then; 'claimbus tls-check HOST:PORT' tells what a server accepts.",
        },
        "retired": {
            "kind": "application-retired",
            "title": "Application NAME is retired on DATE",
            "text": "NAME answers until DATE and not after. What it gave is then had from ….",
        },
    }
)
"""Beginnings of notices; the words in capitals are to be filled in."""

_TO_FILL_IN: Final = re.compile(r"\b(?:DATE|NAME)\b|…")

FIELDS: Final = ("kind", "title", "text", "effective", "ends", "url", "audience", "participants", "notice_id")

router = pages()


@router.get("/notices/new")
async def begin(request: Request, there: Provided, who: Operating) -> Response:
    """Show the composer: empty, or as a template begins it. ``published`` is the last one's message ID."""
    typed = of_address(request)
    template = Typed(ImmutableMultiDict(TEMPLATES.get(typed.text("template"), {})))
    return await _compose(request, there, who, template, published=typed.text("published"))


@router.post("/notices/new")
async def go_on(request: Request, there: Provided, who: Operating) -> Response:
    """Show the composer again, as it was filled in."""
    return await _compose(request, there, who, await of_form(request))


@router.post("/notices/preview")
async def preview(request: Request, there: Provided, who: Operating) -> Response:
    """Show the notice as it will go out, and to whom."""
    typed = await of_form(request)
    # What is published is what was seen: its moment and its ID are fixed here.
    now = datetime.now(UTC).isoformat(timespec="seconds")
    added = [("effective", now), ("notice_id", new_id())]
    fixed = Typed(ImmutableMultiDict([*typed.fields.multi_items(), *added]))
    try:
        shown = await notices.preview(there, who, _draft(fixed))
    except InvalidInputError as wrong:
        return await _compose(request, there, who, typed, wrong=wrong)
    places = await _places(there, shown.event.type)
    return render.page(
        request,
        "operator/notice_preview.html",
        typed=typed,
        fixed=fixed,
        fields=FIELDS,
        shown=shown,
        reached=[one for one in shown.recipients if places[one]],
        deaf=[one for one in shown.recipients if not places[one]],
        endpoints=sum(places[one] for one in shown.recipients),
        attributes=shown.event.attributes(),
        body=json.dumps(json.loads(shown.event.body), indent=2, ensure_ascii=False),
        unfilled=sorted({*_TO_FILL_IN.findall(f"{typed.text('title')} {typed.text('text')}")}),
    )


@router.post("/notices")
async def publish(request: Request, there: Provided, who: Operating) -> Response:
    """Publish it; one that was published already is recognised by its ID."""
    typed = await of_form(request)
    try:
        event = await notices.publish(there, who, _draft(typed), reason=typed.text("reason"))
    except InvalidInputError as wrong:
        return await _compose(request, there, who, typed, wrong=wrong)
    return RedirectResponse(f"/notices/new?{urlencode({'published': event.identity})}", 303)


async def _places(there: Services, type_: str) -> Counter[str]:
    """Count each participant's endpoints that subscribe to a type: the queue of any of them keeps it."""
    known = await there.database.read(endpoints.find)
    return Counter(
        one.participant_id for one in known if any(matches(pattern, type_) for pattern in one.subscriptions)
    )


def _draft(typed: Typed) -> Draft:
    kind, picked = typed.text("kind"), typed.all("participants")
    if kind not in KINDS:
        raise InvalidInputError("kind", f"must be one of {', '.join(KINDS)}")
    to_all = typed.text("audience") != "picked"
    if not to_all and not picked:
        raise InvalidInputError("participants", "pick at least one, or address all")
    return Draft(
        kind=kind,
        title=typed.text("title"),
        text=typed.text("text"),
        effective=typed.moment("effective"),
        ends=typed.moment("ends"),
        url=typed.maybe("url"),
        participants=frozenset(() if to_all else picked),
        notice_id=typed.text("notice_id"),
    )


async def _compose(
    request: Request,
    there: Services,
    who: Principal,
    typed: Typed,
    *,
    published: str = "",
    wrong: InvalidInputError | None = None,
) -> Response:
    return render.page(
        request,
        "operator/notice.html",
        status=422 if wrong else 200,
        typed=typed,
        kinds=[(kind, kind.replace("-", " ")) for kind in KINDS],
        known=await participants.find(there, who),
        published=published,
        wrong={} if wrong is None else {wrong.field.removeprefix("body."): wrong.reason},
    )
