"""``/v1/participants``."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from claimbus.database.entitlements import Entitlement
from claimbus.portal.api.endpoint_documents import EndpointDocument
from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Flag,
    Items,
    Limit,
    Moment,
    ParticipantId,
    PathParticipantId,
    Pattern,
    Reason,
    Request,
    Search,
    Word,
    page,
)
from claimbus.portal.desk import participants as desk
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/participants", tags=["participants"])


class ParticipantDocument(Document):
    """A participant; `event_types` are the patterns of what is open to it."""

    id: ParticipantId
    organisation_id: str
    event_types: list[str]
    created_at: Moment


class EntitlementDocument(Document):
    """That a participant owns a resource, from a moment to another."""

    resource_id: str
    participant_id: ParticipantId
    valid_from: Moment
    valid_to: Moment | None


class WholeParticipant(Document):
    """A participant with its endpoints, what it owns, and whom to tell of its endpoints' troubles."""

    participant: ParticipantDocument
    contacts: list[str]
    endpoints: list[EndpointDocument]
    entitlements: list[EntitlementDocument]


class NewParticipant(Request):
    """A participant to be added; its organisation must be there, unless it is said to be new."""

    id: ParticipantId
    organisation_id: Word
    new_organisation: Flag = False
    event_types: list[Pattern] = Field(default=["#"], max_length=100)
    reason: Reason = ""


class EventTypes(Request):
    """Which event types are open to a participant; none: it gets nothing."""

    event_types: list[Pattern] = Field(max_length=100)
    reason: Reason = ""


class NewContact(Request):
    """Somebody to be told."""

    email: Word = Field(examples=["operations@pgae.example"])
    reason: Reason = ""


class NewEntitlement(Request):
    """From when, and until when, the participant owns a resource."""

    valid_from: Moment
    valid_to: Moment | None = None
    reason: Reason = ""


class Contacts(Document):
    """Whom to tell."""

    contacts: list[str]


@router.get("")
async def find_participants(
    services: Provided, who: Caller, text: Search = "", cursor: Cursor = None, limit: Limit = 50
) -> Items[ParticipantDocument]:
    """List the participants that you may see, by ID."""
    found = await desk.page(services, who, text=text, cursor=cursor, limit=limit)
    return page(found, ParticipantDocument)


@router.post("", status_code=201)
async def add_participant(services: Provided, who: Caller, new: NewParticipant) -> ParticipantDocument:
    """Add a participant. For operators."""
    added = await desk.add(
        services,
        who,
        new.id,
        new.organisation_id,
        new_organisation=new.new_organisation,
        patterns=new.event_types,
        reason=new.reason,
    )
    return ParticipantDocument.model_validate(added)


@router.get("/{participant_id}")
async def get_participant(
    services: Provided, who: Caller, participant_id: PathParticipantId
) -> WholeParticipant:
    """Give a participant with all that belongs to it."""
    return WholeParticipant.model_validate(await desk.get(services, who, participant_id))


@router.put("/{participant_id}/event-types")
async def open_event_types(
    services: Provided, who: Caller, participant_id: PathParticipantId, wanted: EventTypes
) -> ParticipantDocument:
    """Say which event types are open to a participant. For operators."""
    changed = await desk.open_event_types(
        services, who, participant_id, wanted.event_types, reason=wanted.reason
    )
    return ParticipantDocument.model_validate(changed)


@router.put("/{participant_id}/entitlements/{resource_id}")
async def entitle(
    services: Provided,
    who: Caller,
    participant_id: PathParticipantId,
    resource_id: Annotated[str, Path(max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")],
    wanted: NewEntitlement,
) -> EntitlementDocument:
    """Say that a participant owns a resource, or until when. For operators."""
    entitlement = Entitlement(resource_id, participant_id, wanted.valid_from, wanted.valid_to)
    found = await desk.entitle(services, who, entitlement, reason=wanted.reason)
    return EntitlementDocument.model_validate(found)


@router.post("/{participant_id}/contacts", status_code=201)
async def add_contact(
    services: Provided, who: Caller, participant_id: PathParticipantId, new: NewContact
) -> Contacts:
    """Let somebody of its organisation be told of its endpoints' troubles."""
    found = await desk.add_contact(services, who, participant_id, new.email, reason=new.reason)
    return Contacts(contacts=list(found))


@router.delete("/{participant_id}/contacts")
async def remove_contact(
    services: Provided,
    who: Caller,
    participant_id: PathParticipantId,
    email: Annotated[Word, Query()],
    reason: Annotated[Reason, Query()] = "",
) -> Contacts:
    """Tell somebody of its organisation nothing any more."""
    found = await desk.remove_contact(services, who, participant_id, email, reason=reason)
    return Contacts(contacts=list(found))
