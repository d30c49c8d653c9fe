"""``/v1/journal``: what was published."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from claimbus.broker.journal import JournalEntry
from claimbus.portal.api.fields import Document, Moment, Pattern, WantedId, WantedMoment, WantedWord
from claimbus.portal.desk import journal as desk
from claimbus.portal.desk.journal import Wanted
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/journal", tags=["journal"])


class EntryDocument(Document):
    """A ticket; `routing_key` names the first recipient only."""

    offset: int
    routing_key: str
    published_at: Moment | None
    type: str | None
    message_id: str | None
    claim_id: str | None
    partitionkey: str | None
    sequence: int | None

    @classmethod
    def of(cls, entry: JournalEntry) -> "EntryDocument":
        """Return an entry as an answer."""
        ticket = entry.ticket
        return cls(
            offset=entry.offset,
            routing_key=entry.routing_key,
            published_at=None if ticket is None else datetime.fromtimestamp(ticket.timestamp, UTC),
            **{name: getattr(ticket, name, None) for name in _OF_TICKET},
        )


_OF_TICKET = ("type", "message_id", "claim_id", "partitionkey", "sequence")


class FoundDocument(Document):
    """What was found among `read` entries; `whole` is false when there may be more."""

    entries: list[EntryDocument]
    read: int
    whole: bool


@router.get("")
async def search_journal(
    services: Provided,
    who: Caller,
    *,
    since: Annotated[Moment, Query()],
    until: WantedMoment = None,
    type_: Annotated[Pattern | None, Query(alias="type")] = None,
    message_id: WantedId = None,
    partitionkey: WantedWord = None,
    limit: Annotated[int, Query(ge=1, le=desk.MOST)] = desk.MOST,
) -> FoundDocument:
    """Search what was published, in its order, for some seconds at most. For operators."""
    wanted = Wanted(since=since, until=until, type=type_, message_id=message_id, partitionkey=partitionkey)
    found = await desk.search(services, who, wanted, limit=limit)
    entries = [EntryDocument.of(one) for one in found.entries]
    return FoundDocument(entries=entries, read=found.read, whole=found.whole)
