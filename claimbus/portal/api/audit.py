"""``/v1/audit``: who did what, and why."""

from typing import Any

from fastapi import APIRouter

from claimbus.portal.api.fields import Cursor, Document, Items, Limit, Moment, WantedMoment, WantedWord, page
from claimbus.portal.desk import audit as desk
from claimbus.portal.desk.audit import Wanted
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/audit", tags=["audit"])


class EntryDocument(Document):
    """Something that was done: what the object was before, and after, as far as that changed."""

    id: int
    at: Moment
    actor: str
    action: str
    kind: str
    object_id: str
    organisation_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str


@router.get("")
async def find_entries(
    services: Provided,
    who: Caller,
    *,
    kind: WantedWord = None,
    object_id: WantedWord = None,
    organisation_id: WantedWord = None,
    actor: WantedWord = None,
    since: WantedMoment = None,
    until: WantedMoment = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[EntryDocument]:
    """List what was done, the newest first: all of it to operators, their organisation's to UAAs."""
    wanted = Wanted(
        kind=kind,
        object_id=object_id,
        organisation_id=organisation_id,
        actor=actor,
        since=since,
        until=until,
    )
    return page(await desk.find(services, who, wanted, cursor=cursor, limit=limit), EntryDocument)
