"""``/v1/endpoints``."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from claimbus.database.endpoint import Kind, State
from claimbus.portal.api.endpoint_documents import (
    Changes,
    EndpointDocument,
    HealthDocument,
    NewEndpoint,
    OutcomeDocument,
    Subscribing,
    TestSent,
    WithSecret,
)
from claimbus.portal.api.fields import (
    Cursor,
    GivenWhy,
    Id,
    Items,
    Limit,
    PathId,
    Reason,
    Search,
    WantedParticipant,
    Why,
    page,
)
from claimbus.portal.desk import endpoints as desk
from claimbus.portal.desk import health
from claimbus.portal.desk.endpoints import New, Outcome
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"])

AT_ONCE = 100
"""Endpoints whose health one request tells."""


@router.get("")
async def find_endpoints(
    services: Provided,
    who: Caller,
    *,
    participant_id: WantedParticipant = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: Search = "",
    held: Annotated[bool | None, Query(description="Only those that are held now, or only others.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[EndpointDocument]:
    """List the endpoints that you may see, by participant and name."""
    found = await desk.page(
        services,
        who,
        participant_id=participant_id,
        state=state,
        kind=kind,
        text=text,
        held=held,
        cursor=cursor,
        limit=limit,
    )
    return page(found, EndpointDocument)


@router.post("", status_code=201)
async def add_endpoint(services: Provided, who: Caller, new: NewEndpoint) -> WithSecret:
    """Add an endpoint. A webhook's receiver is asked at once whether it wants events."""
    wanted = New(
        participant_id=new.participant_id,
        kind=new.kind,
        settings=new.settings(),
        subscriptions=new.subscriptions,
    )
    return _with_secret(await desk.add(services, who, wanted, reason=new.reason))


@router.get("/health")
async def healths(
    services: Provided,
    who: Caller,
    endpoint_id: Annotated[list[Id], Query(min_length=1, max_length=AT_ONCE)],
) -> Items[HealthDocument]:
    """Tell how several endpoints are."""
    found = await health.of(services, who, endpoint_id)
    return Items(items=[HealthDocument.model_validate(one) for one in found.values()], cursor=None)


@router.get("/{endpoint_id}")
async def get_endpoint(services: Provided, who: Caller, endpoint_id: PathId) -> EndpointDocument:
    """Give an endpoint, a removed one too."""
    return EndpointDocument.model_validate(await desk.get(services, who, endpoint_id))


@router.patch("/{endpoint_id}")
async def change_endpoint(
    services: Provided, who: Caller, endpoint_id: PathId, changes: Changes
) -> OutcomeDocument:
    """Change settings. Another URL is verified anew, and nothing is sent there before."""
    return _outcome(await desk.change(services, who, endpoint_id, changes.settings(), reason=changes.reason))


@router.delete("/{endpoint_id}", status_code=204, response_class=Response)
async def remove_endpoint(
    services: Provided, who: Caller, endpoint_id: PathId, reason: Annotated[Reason, Query()] = ""
) -> None:
    """Remove an endpoint: what is left in its queue becomes dead letters."""
    await desk.remove(services, who, endpoint_id, reason=reason)


@router.get("/{endpoint_id}/health")
async def get_health(services: Provided, who: Caller, endpoint_id: PathId) -> HealthDocument:
    """Tell how an endpoint is: the last day by the hour, what waits, whether it is held and why."""
    await desk.get(services, who, endpoint_id)
    return HealthDocument.model_validate((await health.of(services, who, [endpoint_id]))[endpoint_id])


@router.post("/{endpoint_id}/subscriptions")
async def subscribe(
    services: Provided, who: Caller, endpoint_id: PathId, wanted: Subscribing
) -> OutcomeDocument:
    """Subscribe an endpoint to event types, and give others up."""
    return _outcome(
        await desk.subscribe(
            services, who, endpoint_id, add=wanted.add, give_up=wanted.give_up, reason=wanted.reason
        )
    )


@router.post("/{endpoint_id}/verify")
async def verify_endpoint(services: Provided, who: Caller, endpoint_id: PathId, why: Why) -> OutcomeDocument:
    """Ask a webhook's receiver whether it wants events; one that agrees is active from then on."""
    return _outcome(await desk.verify(services, who, endpoint_id, reason=why.reason))


@router.post("/{endpoint_id}/test", status_code=202)
async def test_endpoint(services: Provided, who: Caller, endpoint_id: PathId) -> TestSent:
    """Send a test event the way that every event takes."""
    return TestSent(message_id=await desk.send_test(services, who, endpoint_id))


@router.post("/{endpoint_id}/pause")
async def pause_endpoint(services: Provided, who: Caller, endpoint_id: PathId, why: Why) -> OutcomeDocument:
    """Deliver nothing for a while; the queue keeps everything."""
    return _outcome(await desk.pause(services, who, endpoint_id, reason=why.reason))


@router.post("/{endpoint_id}/resume")
async def resume_endpoint(services: Provided, who: Caller, endpoint_id: PathId, why: Why) -> OutcomeDocument:
    """Go on after a pause."""
    return _outcome(await desk.resume(services, who, endpoint_id, reason=why.reason))


@router.post("/{endpoint_id}/disable")
async def disable_endpoint(
    services: Provided, who: Caller, endpoint_id: PathId, why: GivenWhy
) -> OutcomeDocument:
    """Deliver nothing until somebody enables it; say why."""
    return _outcome(await desk.disable(services, who, endpoint_id, reason=why.reason))


@router.post("/{endpoint_id}/enable")
async def enable_endpoint(services: Provided, who: Caller, endpoint_id: PathId, why: Why) -> OutcomeDocument:
    """Go on after it was disabled."""
    return _outcome(await desk.enable(services, who, endpoint_id, reason=why.reason))


@router.post("/{endpoint_id}/rotate-secret")
async def rotate_secret(services: Provided, who: Caller, endpoint_id: PathId, why: Why) -> WithSecret:
    """Make a new secret, shown this once; the one before signs beside it for a day."""
    return _with_secret(await desk.rotate_secret(services, who, endpoint_id, reason=why.reason))


def _outcome(outcome: Outcome) -> OutcomeDocument:
    return OutcomeDocument.model_validate(outcome)


def _with_secret(outcome: Outcome) -> WithSecret:
    return WithSecret.model_validate(outcome)
