"""``/v1/deliveries``: attempts, and one delivery again."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from claimbus.database.attempts import Attempt
from claimbus.database.schema import moment_of
from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Id,
    Items,
    Limit,
    Moment,
    PathId,
    WantedId,
    WantedMoment,
    WantedParticipant,
    Why,
    Word,
)
from claimbus.portal.api.letter_documents import LetterDocument
from claimbus.portal.desk import deliveries as desk
from claimbus.portal.desk.deliveries import Wanted
from claimbus.portal.services import Caller, Provided
from consumers.verdict import Verdict

router = APIRouter(tags=["deliveries"])

_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A header, then a line for each attempt",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


class AttemptDocument(Document):
    """A try at a delivery. `next` says what was done about it, `answer` how the receiver's answer began."""

    started_at: Moment
    endpoint_id: str
    participant_id: str
    message_id: str
    type: str
    partitionkey: str | None
    sequence: int | None
    attempt: int
    verdict: str
    status: int | None
    duration_ms: int
    next: str
    detail: str | None
    answer: str | None
    replay: str | None
    source: str
    event_id: str

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptDocument":
        """Return an attempt as an answer; what is no text of the receiver's answer is replaced."""
        head = attempt.answer_head
        told = attempt._asdict() | {
            "started_at": moment_of(attempt.started_ms),
            "answer": None if head is None else head.decode(errors="replace"),
        }
        return cls(**{name: told[name] for name in cls.model_fields})


class ResentDocument(Document):
    """That a delivery was sent once more.

    `verdict` and `next` are of the newest attempt at that, null before the first; `given_up`: it is a dead
    letter by now.
    """

    replay: str
    at: Moment
    verdict: str | None
    next: str | None
    given_up: bool

    @classmethod
    def of(cls, resent: desk.Resent) -> "ResentDocument":
        """Return it as an answer."""
        last = resent.last
        return cls(
            replay=resent.replay,
            at=resent.at,
            verdict=None if last is None else last.verdict,
            next=None if last is None else last.next,
            given_up=resent.given_up,
        )


class DeliveryDocument(Document):
    """An event at an endpoint: its attempts, the oldest first, and its newest dead letter, if it has one.

    `resent`, the newest first: when it was sent once more, of late.
    """

    endpoint_id: str
    message_id: str
    attempts: list[AttemptDocument]
    letter: LetterDocument | None
    resent: list[ResentDocument]


class Resent(Document):
    """What the tickets of the new delivery carry as `replay`: its attempts are found by it."""

    replay: str


async def _wanted(
    *,
    participant_id: WantedParticipant = None,
    endpoint_id: WantedId = None,
    type_: Annotated[Word | None, Query(alias="type", description="An event type.")] = None,
    partitionkey: Annotated[Word | None, Query(description="An outage, say.")] = None,
    verdict: Annotated[list[Verdict] | None, Query()] = None,
    message_id: WantedId = None,
    replay: Annotated[Id | None, Query(description="A replay or a recovery.")] = None,
    since: WantedMoment = None,
    until: WantedMoment = None,
) -> Wanted:
    return Wanted(
        participant_id=participant_id,
        endpoint_id=endpoint_id,
        type=type_,
        partitionkey=partitionkey,
        verdicts=verdict or None,
        message_id=message_id,
        replay=replay,
        since=since,
        until=until,
    )


Asked = Annotated[Wanted, Depends(_wanted)]


@router.get("/v1/deliveries")
async def find_attempts(
    services: Provided, who: Caller, wanted: Asked, cursor: Cursor = None, limit: Limit = 50
) -> Items[AttemptDocument]:
    """List attempts, the newest first.

    A search by `type`, or by a `verdict` of an endpoint, takes a moment only: it may give fewer items than
    `limit`, even none, and a `cursor` that goes on from there. Follow it until it is null.
    """
    found = await desk.find(services, who, wanted, cursor=cursor, limit=limit)
    return Items(items=[AttemptDocument.of(one) for one in found.rows], cursor=found.cursor)


@router.get("/v1/deliveries.csv", response_class=StreamingResponse, responses=_CSV)
async def attempts_as_csv(services: Provided, who: Caller, wanted: Asked) -> StreamingResponse:
    """Give attempts as CSV, the newest first, all that there are."""
    await desk.find(services, who, wanted, limit=1)  # what is refused is refused before the answer begins
    headers = {"content-disposition": 'attachment; filename="deliveries.csv"'}
    return StreamingResponse(desk.rows_as_csv(services, who, wanted), media_type="text/csv", headers=headers)


@router.get("/v1/deliveries/{endpoint_id}/{message_id}")
async def get_delivery(
    services: Provided, who: Caller, endpoint_id: PathId, message_id: PathId
) -> DeliveryDocument:
    """Give a delivery with its attempts."""
    found = await desk.get(services, who, endpoint_id, message_id)
    return DeliveryDocument(
        endpoint_id=endpoint_id,
        message_id=message_id,
        attempts=[AttemptDocument.of(one) for one in found.attempts],
        letter=None if found.letter is None else LetterDocument.model_validate(found.letter),
        resent=[ResentDocument.of(one) for one in found.resent],
    )


@router.post("/v1/deliveries/{endpoint_id}/{message_id}/resend", status_code=202)
async def resend_delivery(
    services: Provided, who: Caller, endpoint_id: PathId, message_id: PathId, why: Why
) -> Resent:
    """Deliver an event to an endpoint once more, whatever became of it. A dead letter is replayed instead."""
    return Resent(replay=await desk.resend(services, who, endpoint_id, message_id, reason=why.reason))
