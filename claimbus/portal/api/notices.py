"""``/v1/notices``."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from claimbus.events.bodies import decoded
from claimbus.events.schemas import NoticeKind
from claimbus.portal.api.fields import Document, Moment, ParticipantId, Reason, Request, Text, Word
from claimbus.portal.desk import notices as desk
from claimbus.portal.desk.notices import Draft
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/notices", tags=["notices"])


class DraftDocument(Request):
    """A notice that is being written; `participants`: to these only, else to all."""

    title: Word = Field(examples=["TLS 1.0 and 1.1 end"])
    text: Annotated[Text, Field(min_length=1)]
    kind: NoticeKind = "general"
    effective: Moment | None = None
    ends: Moment | None = None
    url: Word | None = None
    participants: list[ParticipantId] = Field(default=[], max_length=1000)
    notice_id: Word | None = None

    def draft(self) -> Draft:
        """Return it for the desk."""
        return Draft(
            title=self.title,
            text=self.text,
            kind=self.kind,
            effective=self.effective,
            ends=self.ends,
            url=self.url,
            participants=frozenset(self.participants),
            notice_id=self.notice_id or "",
        )


class NewNotice(DraftDocument):
    """A notice to be published."""

    reason: Reason = ""


class PreviewDocument(Document):
    """The event as it would go out, who would receive it, and to whom its type is not open."""

    attributes: dict[str, str]
    data: dict[str, Any]
    recipients: list[str]
    excluded: list[str]


class Published(Document):
    """The notice as it was published: confirmed by RabbitMQ."""

    message_id: str
    notice_id: str


@router.post("/preview")
async def preview_notice(services: Provided, who: Caller, draft: DraftDocument) -> PreviewDocument:
    """Show a notice as it would go out; nothing is published. For operators."""
    shown = await desk.preview(services, who, draft.draft())
    data = decoded(shown.event.body)
    return PreviewDocument(
        attributes=shown.event.attributes(),
        data=data if isinstance(data, dict) else {},
        recipients=list(shown.recipients),
        excluded=list(shown.excluded),
    )


@router.post("", status_code=201)
async def publish_notice(services: Provided, who: Caller, new: NewNotice) -> Published:
    """Publish a notice. For operators."""
    event = await desk.publish(services, who, new.draft(), reason=new.reason)
    return Published(message_id=event.identity, notice_id=event.id)
