"""Dead letters, and their replays, as answers and requests have them."""

from typing import Literal

from pydantic import Field

from claimbus.database.letter import Filter, State
from claimbus.portal.api.fields import (
    Document,
    Flag,
    GivenReason,
    Id,
    Moment,
    Number,
    ParticipantId,
    Pattern,
    Reason,
    Request,
    Word,
)

JobState = Literal["running", "paused", "sent", "done", "cancelled"]


class LetterDocument(Document):
    """A delivery that was given up."""

    id: Id
    state: State
    state_at: Moment
    state_reason: str
    died_at: Moment
    cause: str
    fingerprint: str
    status: int | None
    detail: str
    attempts: int
    endpoint_id: str | None
    participant_id: str | None
    message_id: str | None
    type: str | None
    partitionkey: str | None
    sequence: int | None
    replay: str | None
    replay_id: str | None
    next_id: str | None


class Selection(Request):
    """Which dead letters: those that pass every filter given, or these `ids`."""

    ids: list[Id] | None = Field(default=None, min_length=1, max_length=10_000)
    group: Id | None = None
    cause: Word | None = None
    endpoint_id: Id | None = None
    participant_id: ParticipantId | None = None
    type: Pattern | None = None
    message_id: Id | None = None
    since: Moment | None = None
    until: Moment | None = None

    def filter(self) -> Filter:
        """Return it for the desk."""
        return Filter(
            ids=self.ids,
            group=self.group,
            cause=self.cause,
            endpoint_id=self.endpoint_id,
            participant_ids=None if self.participant_id is None else [self.participant_id],
            type=self.type,
            message_id=self.message_id,
            since=self.since,
            until=self.until,
        )

    def words(self) -> dict[str, object]:
        """Return what was given, as values that JSON can hold."""
        given = self.model_dump(mode="json", exclude_none=True)
        return {**given, "ids": f"{len(self.ids)} letters"} if self.ids else given


class SomeLetters(Request):
    """A selection of letters, and why."""

    selection: Selection
    reason: Reason = ""


class Discarding(Request):
    """A selection of letters to set aside, and why: that must be said."""

    selection: Selection
    reason: GivenReason


class Sending(Request):
    """A selection of letters to deliver again; `rate` in deliveries a second to each endpoint."""

    selection: Selection
    rate: Number | None = Field(default=None, ge=0.01, le=10_000, examples=[50])


class Replaying(Sending):
    """The same, to be sent: with a `canary` one letter goes first, then ten, then the rest."""

    canary: Flag = True
    reason: Reason = ""


class ReplayDocument(Document):
    """A job that delivers dead letters again: the first `stage` of `total` may be sent so far."""

    id: Id
    state: JobState
    state_at: Moment
    state_reason: str
    actor: str
    reason: str
    selection: dict[str, object]
    rate: float | None
    canary: bool
    keep_going: bool
    stage: int
    total: int
    created_at: Moment
    resumed_at: Moment | None
    ended_at: Moment | None
    returned_at: Moment | None
    returned: str | None
