"""``/v1/replays``."""

from typing import Annotated

from fastapi import APIRouter, Query

from claimbus.database.replay_rows import ItemState, Progress, Replay, State
from claimbus.portal.api.fields import (
    Cursor,
    Document,
    Flag,
    Items,
    Limit,
    Moment,
    PathId,
    Reason,
    Request,
    Why,
)
from claimbus.portal.api.letter_documents import LetterDocument, ReplayDocument
from claimbus.portal.desk import replays as desk
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/replays", tags=["replays"])


class ProgressDocument(Document):
    """How many letters of a job are in which state."""

    waiting: int
    sending: int
    sent: int
    delivered: int
    dead_again: int
    skipped: int
    cancelled: int


class ReplayNow(Document):
    """A job and how far it is."""

    replay: ReplayDocument
    progress: ProgressDocument

    @classmethod
    def of(cls, replay: Replay, progress: Progress) -> "ReplayNow":
        """Return it as an answer."""
        return cls(
            replay=ReplayDocument.model_validate(replay), progress=ProgressDocument.model_validate(progress)
        )


class ItemDocument(Document):
    """A letter of a job, and what became of it."""

    position: int
    state: ItemState
    state_at: Moment
    detail: str
    letter: LetterDocument


class Resuming(Request):
    """Why to go on; with `keep_going` no failure that comes back pauses the job any more."""

    keep_going: Flag = False
    reason: Reason = ""


@router.get("")
async def find_replays(
    services: Provided,
    who: Caller,
    state: Annotated[list[State] | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[ReplayNow]:
    """List jobs, the newest first: all of them to operators, to UAAs those that they made."""
    found = await desk.find(services, who, state or None, cursor=cursor, limit=limit)
    return Items(items=[ReplayNow.of(*one) for one in found.rows], cursor=found.cursor)


@router.get("/{replay_id}")
async def get_replay(services: Provided, who: Caller, replay_id: PathId) -> ReplayNow:
    """Give a job and how far it is."""
    return ReplayNow.of(*await desk.get(services, who, replay_id))


@router.get("/{replay_id}/items")
async def get_replay_items(
    services: Provided,
    who: Caller,
    *,
    replay_id: PathId,
    state: Annotated[list[ItemState] | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Items[ItemDocument]:
    """List a job's letters, in the order of sending."""
    found = await desk.items(services, who, replay_id, state or None, cursor=cursor, limit=limit)
    return Items(items=[ItemDocument.model_validate(one) for one in found.rows], cursor=found.cursor)


@router.post("/{replay_id}/pause")
async def pause_replay(services: Provided, who: Caller, replay_id: PathId, why: Why) -> ReplayDocument:
    """Send nothing more for now."""
    return ReplayDocument.model_validate(await desk.pause(services, who, replay_id, reason=why.reason))


@router.post("/{replay_id}/resume")
async def resume_replay(services: Provided, who: Caller, replay_id: PathId, why: Resuming) -> ReplayDocument:
    """Go on."""
    resumed = await desk.resume(services, who, replay_id, keep_going=why.keep_going, reason=why.reason)
    return ReplayDocument.model_validate(resumed)


@router.post("/{replay_id}/cancel")
async def cancel_replay(services: Provided, who: Caller, replay_id: PathId, why: Why) -> ReplayDocument:
    """End it: letters that were not sent are dead as before."""
    return ReplayDocument.model_validate(await desk.cancel(services, who, replay_id, reason=why.reason))
