"""Dead letters: in groups, one by one; and what is done about them, never before one has seen what comes."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from claimbus.database import directory
from claimbus.database.access import Principal, Role
from claimbus.database.groups import By, Group
from claimbus.database.letters import DeadLetter, Filter, State
from claimbus.database.page import Page
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import letters, scope
from claimbus.portal.pages import axis, render, said
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.parts import Part, filtered, part
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, Services, services

if TYPE_CHECKING:
    from claimbus.deadletters.preflight import Report

FILTERS: Final = (
    "id",
    "group",
    "cause",
    "endpoint",
    "participant",
    "type",
    "message",
    "replay",
    "since",
    "until",
)
"""The fields that choose letters, but for their state."""
GROUPINGS: Final[tuple[By, ...]] = get_args(By)
STATES: Final[tuple[State, ...]] = get_args(State)
AT_ONCE: Final = 200
"""Over so many letters the page comes before its preflight: each letter's body is read for that, half a
millisecond each."""

Deed = Literal["replay", "discard", "restore"]
ON: Final[Mapping[Deed, State]] = {"replay": "dead", "discard": "dead", "restore": "discarded"}
"""In which state a letter must be for what is done to it."""

router = pages()


@router.get("/letters/groups")
async def groups(request: Request, visit: Visiting, there: Provided) -> Response:
    """Show what letters have in common, with how many there were when."""
    typed, who = of_address(request), visit.who
    by: By = next((one for one in GROUPINGS if one == typed.text("by")), "error")
    found = await filtered(_grouped(there, who, typed, by))
    counts = await filtered(_counted(there, who, typed))
    rows = found.value or []
    return render.page(
        request,
        "letter_groups.html",
        status=found.status,
        found=found,
        rows=[(one, _narrowed(typed, by, one)) for one in rows],
        names=await _names(there, rows) if by == "endpoint" else {},
        marks=axis.marks(min(one.first for one in rows), max(one.last for one in rows)) if rows else (),
        counts=counts.value or {},
        by=by,
        groupings=GROUPINGS,
        typed=typed,
        address=_address(typed),
        is_filtered=bool(typed.only(FILTERS)),
    )


@router.get("/letters")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List letters, the newest first."""
    typed, who = of_address(request), visit.who
    found = await filtered(_page(there, who, typed))
    return render.page(
        request,
        "letters.html",
        status=found.status,
        found=found,
        typed=typed,
        states=STATES,
        address=_address(typed),
        is_filtered=bool(typed.only((*FILTERS, "state"))),
    )


@router.get("/letters/{deed}/choose")
async def choose(request: Request, visit: Visiting, deed: Deed) -> Response:
    """Show what was chosen and, for a replay, what it would meet."""
    _permit(visit.who, deed)
    return await _ask(request, visit.who, deed, of_address(request), Failed())


@router.post("/letters/{deed}/choose")
async def do(request: Request, visit: Visiting, there: Provided, deed: Deed) -> Response:
    """Do it."""
    _permit(visit.who, deed)
    typed, who = await of_form(request), visit.who
    try:
        reason = typed.needed("reason", "say why; it stands in the audit")
        chosen = await letters.choose(there, who, _wanted(typed), typed.only(FILTERS), state=ON[deed])
        if deed == "replay":
            rate, canary = typed.number("rate"), typed.ticked("canary")
            job, _ = await letters.replay(there, who, chosen, rate=rate, canary=canary, reason=reason)
            return said.back(f"/replays/{job.id}", "replaying")
        if deed == "discard":
            await letters.discard(there, who, chosen, reason=reason)
            return said.back("/letters/groups", "discarded")
        await letters.restore(there, who, chosen, reason=reason)
        return said.back("/letters/groups", "restored")
    except NOT_DONE as wrong:
        return await _ask(request, who, deed, typed, Failed.of(deed, typed, wrong))


@router.get("/letters/{letter_id}")
async def one(request: Request, visit: Visiting, there: Provided, letter_id: str) -> Response:
    """Show a letter, and the beginning of its body; the look is audited."""
    shown = await letters.look(there, visit.who, letter_id)
    if shown.letter.id != letter_id:  # an operator typed the beginning of its ID
        return RedirectResponse(f"/letters/{shown.letter.id}", 303)
    return render.page(request, "letter.html", shown=shown, letter=shown.letter)


@router.get("/letters/{letter_id}/body")
async def body(request: Request, visit: Visiting, there: Provided, letter_id: str) -> Response:
    """Give a letter's whole body as a file; the look is audited."""
    del request
    found = await letters.body(there, visit.who, letter_id)
    headers = {
        "content-disposition": f'attachment; filename="{quote(letter_id, safe="")}.body"',
        "content-length": str(found.size),
    }
    # Whatever it calls itself, a browser is not to open it in this site.
    return StreamingResponse(found.pieces, headers=headers, media_type="application/octet-stream")


async def _ask(request: Request, who: Principal, deed: Deed, typed: Typed, failed: Failed) -> Response:
    """Return the page that asks for what is to be done, with a preflight before a replay."""
    there, errors = services(request), dict(failed.errors)
    report: Part[Report] = Part()
    count = 0
    try:
        chosen = await letters.choose(there, who, _wanted(typed), typed.only(FILTERS), state=ON[deed])
        count = len(chosen.ids)
        is_patient = count <= AT_ONCE or typed.ticked("now")
        if deed == "replay" and is_patient:
            rate = None if "rate" in errors else typed.number("rate")
            report = await part(letters.preflight(there, who, chosen, rate=rate))
    except InvalidInputError as wrong:
        errors.setdefault(wrong.field, wrong.reason)
    page = render.page(
        request,
        "letters_choose.html",
        status=422 if errors else failed.status,
        deed=deed,
        count=count,
        report=report,
        errors=errors,
        refused=failed.refused,
        typed=typed,
        chosen=typed.pairs(FILTERS),
        now_address=f"/letters/{deed}/choose?{urlencode([*typed.pairs(FILTERS), ('now', 'yes')])}",
        default_rate=there.replay_rate,
    )
    page.headers.update(failed.headers)
    return page


def _permit(who: Principal, deed: Deed) -> None:
    scope.must_be(who, *(scope.KEEPING if deed == "replay" else (Role.OPERATOR,)))


async def _grouped(there: Services, who: Principal, typed: Typed, by: By) -> list[Group]:
    return await letters.group(there, who, _wanted(typed), by=by)


async def _counted(there: Services, who: Principal, typed: Typed) -> dict[str, int]:
    return await letters.count(there, who, _wanted(typed))


async def _page(there: Services, who: Principal, typed: Typed) -> Page[DeadLetter]:
    return await letters.find(there, who, _wanted(typed), cursor=typed.maybe("cursor"))


def _wanted(typed: Typed) -> Filter:
    """Return the filter that was typed; without a state, letters that wait for somebody."""
    if typed.ticked("by_hand") and not typed.all("id"):
        raise InvalidInputError("letters", "choose at least one")  # no box ticked does not mean all of them
    since, until = typed.period()
    states: tuple[State, ...] | None = tuple(one for one in STATES if one in typed.all("state")) or ("dead",)
    if "any" in typed.all("state") or typed.all("id"):
        states = None
    return Filter(
        ids=typed.all("id") or None,
        group=typed.maybe("group"),
        cause=typed.maybe("cause"),
        endpoint_id=typed.maybe("endpoint"),
        participant_ids=typed.all("participant") or None,
        type=typed.maybe("type"),
        states=states,
        since=since,
        until=until,
        message_id=typed.maybe("message"),
        replay_id=typed.maybe("replay"),
    )


def _narrowed(typed: Typed, by: By, group: Group) -> str | None:
    """Return the filters for one group alone as the end of an address; None: no filter finds only these."""
    if group.key is None:
        return None
    name = {"error": "group"}.get(by, by)
    narrow = {name: group.key}
    if by == "hour":
        (since, until), begin = typed.period(), datetime.fromisoformat(group.key)
        end = begin + timedelta(hours=1)
        narrow = {
            "since": max(begin, since or begin).isoformat(),
            "until": min(end, until or end).isoformat(),
        }
    return urlencode([*narrow.items(), *typed.pairs(one for one in FILTERS if one not in narrow)])


async def _names(there: Services, groups: Iterable[Group]) -> dict[str, str]:
    """Return the names of the endpoints that groups are of, by their IDs."""
    ids = {one.key for one in groups if one.key is not None}
    found = await there.database.read(lambda sql: directory.many(sql, ids))
    return {one.id: f"{one.name} of {one.participant_id}" for one in found}


def _address(typed: Typed) -> str:
    """Return the filters as the end of an address."""
    return urlencode(typed.pairs(FILTERS))
