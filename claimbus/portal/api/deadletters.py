"""``/v1/deadletters``."""

from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from claimbus.database.groups import By
from claimbus.database.letter import Filter, State
from claimbus.portal.api.deliveries import AttemptDocument
from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Items,
    Limit,
    Moment,
    PathId,
    Pattern,
    WantedId,
    WantedMoment,
    WantedParticipant,
    WantedWord,
    page,
)
from claimbus.portal.api.letter_documents import (
    Discarding,
    LetterDocument,
    ReplayDocument,
    Replaying,
    Selection,
    Sending,
    SomeLetters,
)
from claimbus.portal.desk import letters as desk
from claimbus.portal.services import Caller, Provided

WAITING: Final[tuple[State, ...]] = ("dead",)

router = APIRouter(prefix="/v1/deadletters", tags=["dead letters"])

_BODY: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The body as it was published",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class GroupDocument(Document):
    """Letters that have `key` in common; `trend` counts them in equal spans from `first` to `last` of all."""

    key: str | None
    cause: str | None
    status: int | None
    error: str | None
    count: int
    first: Moment
    last: Moment
    sample: str
    trend: list[int]


class BodyPreview(Document):
    """The beginning of a body of `size` bytes; `withheld` says why it is not shown."""

    size: int | None
    text: str | None
    withheld: str


class ShownLetter(Document):
    """A letter, the attempts at its delivery, its event's attributes, and its body's beginning."""

    letter: LetterDocument
    attempts: list[AttemptDocument]
    attributes: dict[str, str]
    body: BodyPreview
    kept_until: Moment | None


class StandingDocument(Document):
    """What a replay would meet at an endpoint."""

    endpoint_id: str | None
    name: str | None
    participant_id: str | None
    standing: str
    letters: int
    ready: int
    duplicates: int
    seconds: float | None


class ReportDocument(Document):
    """What a replay would meet; `not_ready` tells of each letter that would not be sent why."""

    letters: int
    ready: int
    bodies: dict[str, int]
    endpoints: dict[str, int]
    not_entitled: int
    duplicates: int
    rate: float | None
    seconds: float | None
    not_ready: dict[str, str]
    by_endpoint: list[StandingDocument]


class Moved(Document):
    """How many letters changed their state."""

    count: int


async def _wanted(
    *,
    group: WantedId = None,
    cause: WantedWord = None,
    endpoint_id: WantedId = None,
    participant_id: WantedParticipant = None,
    type_: Annotated[Pattern | None, Query(alias="type")] = None,
    message_id: WantedId = None,
    replay_id: WantedId = None,
    state: Annotated[list[State] | None, Query(description="`dead` unless it is given.")] = None,
    since: WantedMoment = None,
    until: WantedMoment = None,
) -> Filter:
    return Filter(
        group=group,
        cause=cause,
        endpoint_id=endpoint_id,
        participant_ids=None if participant_id is None else [participant_id],
        type=type_,
        message_id=message_id,
        replay_id=replay_id,
        states=state or WAITING,
        since=since,
        until=until,
    )


Asked = Annotated[Filter, Depends(_wanted)]


@router.get("")
async def find_letters(
    services: Provided, who: Caller, wanted: Asked, cursor: Cursor = None, limit: Limit = 50
) -> Items[LetterDocument]:
    """List dead letters, the newest first."""
    return page(await desk.find(services, who, wanted, cursor=cursor, limit=limit), LetterDocument)


@router.get("/groups")
async def group_letters(
    services: Provided,
    who: Caller,
    wanted: Asked,
    by: By = "error",
    buckets: Annotated[int, Query(ge=1, le=200, description="Spans of a trend.")] = 24,
) -> Items[GroupDocument]:
    """List the biggest groups of letters, the biggest first."""
    found = await desk.group(services, who, wanted, by=by, buckets=buckets)
    return Items(items=[GroupDocument.model_validate(one) for one in found], cursor=None)


@router.post("/preflight")
async def preflight_letters(services: Provided, who: Caller, wanted: Sending) -> ReportDocument:
    """Tell what a replay of these letters would meet; nothing is sent."""
    chosen = await _chosen(services, who, wanted.selection)
    return ReportDocument.model_validate(await desk.preflight(services, who, chosen, rate=wanted.rate))


@router.post("/replay", status_code=201)
async def replay_letters(services: Provided, who: Caller, wanted: Replaying) -> ReplayDocument:
    """Deliver dead letters again: a job is made, which the workers run."""
    chosen = await _chosen(services, who, wanted.selection)
    job, _ = await desk.replay(
        services, who, chosen, rate=wanted.rate, canary=wanted.canary, reason=wanted.reason
    )
    return ReplayDocument.model_validate(job)


@router.post("/discard")
async def discard_letters(services: Provided, who: Caller, wanted: Discarding) -> Moved:
    """Set letters aside, with a reason. For operators."""
    chosen = await _chosen(services, who, wanted.selection)
    return Moved(count=await desk.discard(services, who, chosen, reason=wanted.reason))


@router.post("/restore")
async def restore_letters(services: Provided, who: Caller, wanted: SomeLetters) -> Moved:
    """Take back what was discarded. For operators."""
    chosen = await _chosen(services, who, wanted.selection, state="discarded")
    return Moved(count=await desk.restore(services, who, chosen, reason=wanted.reason))


@router.get("/{letter_id}")
async def get_letter(services: Provided, who: Caller, letter_id: PathId) -> ShownLetter:
    """Show a letter and the beginning of its body; the look is audited."""
    shown = await desk.look(services, who, letter_id)
    text = shown.body.shown.text if shown.body.shown is not None else None
    return ShownLetter(
        letter=LetterDocument.model_validate(shown.letter),
        attempts=[AttemptDocument.of(one) for one in shown.attempts],
        attributes=shown.attributes,
        body=BodyPreview(size=shown.body.size, text=text, withheld=shown.body.withheld),
        kept_until=shown.kept_until,
    )


@router.get("/{letter_id}/body", response_class=StreamingResponse, responses=_BODY)
async def get_letter_body(services: Provided, who: Caller, letter_id: PathId) -> StreamingResponse:
    """Give a letter's whole body; the look is audited."""
    found = await desk.body(services, who, letter_id)
    headers = {
        "content-disposition": f'attachment; filename="{quote(letter_id, safe="")}.body"',
        "content-length": str(found.size),
    }
    # Whatever it calls itself, a browser is not to open it as a part of this site.
    return StreamingResponse(found.pieces, headers=headers, media_type="application/octet-stream")


async def _chosen(
    services: Provided, who: Caller, selection: Selection, state: State = "dead"
) -> desk.Chosen:
    return await desk.choose(services, who, selection.filter(), selection.words(), state=state)
