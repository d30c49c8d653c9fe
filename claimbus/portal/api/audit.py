"""``/v1/audit``: who did what, and why."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from claimbus.portal.api.fields import Cursor, Document, Items, Limit, Moment, Word, page
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
    kind: Annotated[Word | None, Query()] = None,
    object_id: Annotated[Word | None, Query()] = None,
    organisation_id: Annotated[Word | None, Query()] = None,
    actor: Annotated[Word | None, Query()] = None,
    since: Annotated[Moment | None, Query()] = None,
    until: Annotated[Moment | None, Query()] = None,
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
