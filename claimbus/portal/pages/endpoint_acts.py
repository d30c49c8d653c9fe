"""What is done to an endpoint by forms: it is added, changed, turned, tested, removed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import DEFAULTS, Endpoint, Kind
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue, endpoints, scope, trials
from claimbus.portal.desk.endpoints import New
from claimbus.portal.desk.provisioning import Outcome
from claimbus.portal.pages import choosing, endpoint_form, render, said
from claimbus.portal.pages.endpoints import show
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import Typed, of_address, of_form
from claimbus.portal.services import Provided, services

Turn = Callable[..., Awaitable[Outcome]]
Turning = Literal["pause", "resume", "enable", "disable", "verify", "rotate-secret"]

TURNS: Final[Mapping[Turning, tuple[Turn, str]]] = {
    "pause": (endpoints.pause, "paused"),
    "resume": (endpoints.resume, "resumed"),
    "enable": (endpoints.enable, "enabled"),
    "disable": (endpoints.disable, "disabled"),
    "verify": (trials.verify, "verified"),
    "rotate-secret": (endpoints.rotate_secret, "saved"),
}

router = pages()


@router.get("/endpoints/new")
async def new(request: Request, visit: Visiting) -> Response:
    """Show the form that adds one; its address may say already what is to be picked."""
    scope.must_be(visit.who, *scope.KEEPING)
    return await _form(request, visit.who, of_address(request), endpoint_form.shown(DEFAULTS))


@router.post("/endpoints/new")
async def add(request: Request, visit: Visiting, there: Provided) -> Response:
    """Add one; its secret is shown by the answer to the form, and never again."""
    typed, who = await of_form(request), visit.who
    try:
        outcome = await endpoints.add(there, who, _new(typed, who), reason=typed.text("reason"))
    except NOT_DONE as wrong:
        scope.must_be(who, *scope.KEEPING)
        shown = endpoint_form.as_typed(typed)
        return await _form(request, who, typed, shown, Failed.of("new", typed, wrong))
    return render.page(request, "endpoint_outcome.html", outcome=outcome, what="added")


@router.post("/endpoints/{endpoint_id}/settings")
async def change(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Change settings; another URL is verified at once."""
    typed = await of_form(request)
    endpoint = await endpoints.get(there, visit.who, endpoint_id)
    try:
        settings = endpoint_form.changed(endpoint, endpoint_form.read(typed, endpoint.kind))
        outcome = await endpoints.change(there, visit.who, endpoint_id, settings, reason=typed.text("reason"))
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of("settings", typed, wrong))
    return _answer(request, outcome, "saved")


@router.post("/endpoints/{endpoint_id}/subscriptions")
async def subscribe(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Subscribe to what is picked, and give up the rest."""
    typed = await of_form(request)
    endpoint, wanted = await endpoints.get(there, visit.who, endpoint_id), choosing.patterns(typed)
    add_, give_up = set(wanted).difference(endpoint.subscriptions), set(endpoint.subscriptions) - {*wanted}
    try:
        outcome = await endpoints.subscribe(
            there, visit.who, endpoint_id, add=add_, give_up=give_up, reason=typed.text("reason")
        )
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of("subscriptions", typed, wrong))
    return _answer(request, outcome, "subscribed")


@router.post("/endpoints/{endpoint_id}/test")
async def test(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Send a test event, and lead to where one sees it arrive."""
    try:
        message_id = await trials.send_test(there, visit.who, endpoint_id)
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of("test", None, wrong))
    return RedirectResponse(f"/endpoints/{endpoint_id}/tests/{message_id}", 303)


@router.post("/endpoints/{endpoint_id}/remove")
async def remove(request: Request, visit: Visiting, there: Provided, endpoint_id: str) -> Response:
    """Remove one whose name was typed."""
    typed = await of_form(request)
    endpoint = await endpoints.get(there, visit.who, endpoint_id)
    try:
        _confirm(typed, endpoint)
        reason = typed.needed("reason", "say why; it stands in the audit")
        await endpoints.remove(there, visit.who, endpoint_id, reason=reason)
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of("remove", typed, wrong))
    return said.back("/endpoints", "removed")


@router.post("/endpoints/{endpoint_id}/{turning}")
async def turn(
    request: Request, visit: Visiting, there: Provided, endpoint_id: str, turning: Turning
) -> Response:
    """Pause, resume, verify and the like."""
    typed, (doing, word) = await of_form(request), TURNS[turning]
    try:
        outcome = await doing(there, visit.who, endpoint_id, reason=typed.text("reason"))
    except NOT_DONE as wrong:
        return await show(request, there, visit.who, endpoint_id, Failed.of(turning, typed, wrong))
    return _answer(request, outcome, word)


def _answer(request: Request, outcome: Outcome, word: str) -> Response:
    """Lead back to the endpoint; what is told but once, a secret or a verification, is the answer itself."""
    if outcome.secret is not None or outcome.verification is not None:
        return render.page(request, "endpoint_outcome.html", outcome=outcome, what=word)
    return said.back(f"/endpoints/{outcome.endpoint.id}", said.LATE if outcome.late else word)


def _new(typed: Typed, who: Principal) -> New:
    kind: Kind = "stream" if typed.text("kind") == "stream" else "webhook"
    participant_id = typed.text("participant")
    if not participant_id and not who.is_one_of(Role.OPERATOR) and len(who.participants) == 1:
        participant_id = who.participants[0].id
    if not participant_id:
        raise InvalidInputError("participant", "choose whose endpoint it is")
    return New(
        participant_id=participant_id,
        kind=kind,
        settings=endpoint_form.read(typed, kind),
        subscriptions=choosing.patterns(typed),
    )


async def _form(
    request: Request, who: Principal, typed: Typed, shown: Mapping[str, str], failed: Failed | None = None
) -> Response:
    domains = choosing.domains(await catalogue.types(services(request), who))
    failed = failed or Failed()
    return render.page(
        request,
        "endpoint_new.html",
        status=failed.status,
        mine=sorted(who.participant_ids),
        participant=typed.text("participant"),
        kind=typed.text("kind") or "webhook",
        shown=shown,
        errors=failed.errors,
        refused=failed.refused,
        defaults=DEFAULTS,
        domains=domains,
        offered=choosing.offered(domains),
        examples=choosing.examples(domains),
        chosen=choosing.patterns(typed),
    )


def _confirm(typed: Typed, endpoint: Endpoint) -> None:
    if typed.text("name") != endpoint.name:
        raise InvalidInputError("name", f"type {endpoint.name} to remove it")
