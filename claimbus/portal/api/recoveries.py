"""``/v1/recoveries``."""

from fastapi import APIRouter
from pydantic import Field

from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Flag,
    Id,
    Items,
    Limit,
    Moment,
    PathId,
    Pattern,
    Reason,
    Request,
    WantedId,
    page,
)
from claimbus.portal.desk import recoveries as desk
from claimbus.portal.desk.recoveries import State
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/recoveries", tags=["recoveries"])


class NewRecovery(Request):
    """What an endpoint is to get again: what it missed since a time, or with `everything` all of it."""

    endpoint_id: Id
    since: Moment = Field(examples=["2026-01-31T14:00:00Z"])
    until: Moment | None = None
    type: Pattern | None = None
    everything: Flag = False
    reason: Reason = ""


class RecoveredDocument(Document):
    """What a recovery found in the journal and sent."""

    replay: str
    endpoint_state: str
    waiting: int
    read: int
    concerning: int
    settled: int
    not_entitled: int
    gone: int
    redelivered: int


class RecoveryDocument(Document):
    """A recovery: `read` of `total` entries of the journal; `recovered` has the figures once it is done.

    It has failed, too, when the portal that ran it ended. What was not sent may be recovered again.
    """

    id: Id
    endpoint_id: str
    participant_id: str
    actor: str
    reason: str
    since: Moment
    until: Moment | None
    type: str | None
    everything: bool
    state: State
    begun_at: Moment
    ended_at: Moment | None
    read: int
    total: int
    recovered: RecoveredDocument | None
    why: str


class Stopping(Request):
    """Why a recovery is stopped."""

    reason: Reason = ""


@router.get("")
async def find_recoveries(
    services: Provided,
    who: Caller,
    endpoint_id: WantedId = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[RecoveryDocument]:
    """List recoveries, the newest first."""
    found = await desk.find(services, who, endpoint_id=endpoint_id, cursor=cursor, limit=limit)
    return page(found, RecoveryDocument)


@router.post("", status_code=202)
async def start_recovery(services: Provided, who: Caller, new: NewRecovery) -> RecoveryDocument:
    """Begin to deliver what an endpoint missed."""
    begun = await desk.start(
        services,
        who,
        new.endpoint_id,
        new.since,
        until=new.until,
        type_=new.type,
        all_=new.everything,
        reason=new.reason,
    )
    return RecoveryDocument.model_validate(await desk.get(services, who, begun))


@router.get("/{recovery_id}")
async def get_recovery(services: Provided, who: Caller, recovery_id: PathId) -> RecoveryDocument:
    """Tell how far a recovery is."""
    return RecoveryDocument.model_validate(await desk.get(services, who, recovery_id))


@router.post("/{recovery_id}/stop")
async def stop_recovery(
    services: Provided, who: Caller, recovery_id: PathId, wanted: Stopping
) -> RecoveryDocument:
    """Stop a recovery; what was sent by then was sent."""
    return RecoveryDocument.model_validate(await desk.stop(services, who, recovery_id, reason=wanted.reason))
