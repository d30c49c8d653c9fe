"""``/v1/parked-events``: events on resources that nobody owned."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Id,
    Items,
    Limit,
    Moment,
    ParticipantId,
    Reason,
    Request,
)
from claimbus.portal.desk import parked as desk
from claimbus.portal.desk.parked import Waiting
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/parked-events", tags=["parked events"])


class ParkedDocument(Document):
    """A parked event, without its body, and who owns its resource by now."""

    message_id: str
    resource_id: str
    attributes: dict[str, str]
    size: int
    parked_at: Moment
    released_at: Moment | None
    released_by: str | None
    owners: list[str]

    @classmethod
    def of(cls, waiting: Waiting) -> "ParkedDocument":
        """Return it as an answer."""
        facts = {name: getattr(waiting.event, name) for name in cls.model_fields if name != "owners"}
        return cls(**facts, owners=list(waiting.owners))


class Releasing(Request):
    """Which events to publish, all that wait unless some are named; to their owners, or `to` others."""

    message_ids: list[Id] | None = Field(default=None, min_length=1, max_length=1000)
    to: list[ParticipantId] = Field(default=[], max_length=1000)
    reason: Reason = ""


@router.get("")
async def find_parked(
    services: Provided,
    who: Caller,
    released: Annotated[bool, Query(description="Those that were released.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[ParkedDocument]:
    """List parked events, the newest first. For operators."""
    found = await desk.find(services, who, released=released, cursor=cursor, limit=limit)
    return Items(items=[ParkedDocument.of(one) for one in found.rows], cursor=found.cursor)


@router.post("/release")
async def release_parked(services: Provided, who: Caller, wanted: Releasing) -> Items[ParkedDocument]:
    """Publish parked events; one whose resource has no owner stays. For operators."""
    found = await desk.release(
        services, who, wanted.message_ids, to=frozenset(wanted.to), reason=wanted.reason
    )
    return Items(items=[ParkedDocument.of(one) for one in found], cursor=None)
