"""Why a letter must not, or cannot, be delivered now: its endpoint, the entitlement (rule 10), its body.

Each check returns the reason in plain words, or None. Default deny: what is not known is a reason.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

from claimbus.database import endpoints, participants
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from claimbus.database.participants import Participant
from claimbus.deadletters.bodies import Where
from claimbus.events.event import ALL, Audience
from claimstore.holds import HoldState

if TYPE_CHECKING:
    from sqlalchemy import Connection

Standing = Literal["pending", "active", "held", "paused", "disabled", "removed"]
"""Where an endpoint stands; one that was never there counts as removed."""


class Directory(NamedTuple):
    """The endpoints, removed ones too, and the participants, as they were at a moment. Made by `read`."""

    revisions: dict[str, int]
    endpoints: dict[str, Endpoint]
    participants: dict[str, Participant]

    def endpoint(self, endpoint_id: str | None) -> Endpoint | None:
        """Return an endpoint; None for one that was never there."""
        return None if endpoint_id is None else self.endpoints.get(endpoint_id)

    def standing(self, endpoint_id: str | None, hold: HoldState | None) -> Standing:
        """Tell where an endpoint stands; without a ``hold`` it is not held."""
        endpoint = self.endpoint(endpoint_id)
        if endpoint is None or endpoint.removed_at is not None:
            return "removed"
        if endpoint.state != "active":
            return endpoint.state
        return "held" if hold is not None and hold.held else "active"

    def closed(self, letter: DeadLetter, hold: HoldState | None) -> str | None:
        """Tell why the endpoint takes no delivery of this letter."""
        if letter.message_id is None or letter.claim_id is None:
            return "there is no event: it was no ticket"
        endpoint = self.endpoint(letter.endpoint_id)
        if endpoint is None:
            return "endpoint unknown"
        match self.standing(endpoint.id, hold):
            case "active":
                return None
            case "removed":
                return "endpoint removed"
            case "held":
                return f"endpoint is held: {hold.failures if hold else 0} failures in a row"
            case state:
                return f"endpoint is {state}" + (
                    f": {endpoint.state_reason}" if endpoint.state_reason else ""
                )

    def forbidden(self, letter: DeadLetter) -> str | None:
        """Tell why the event's type is not for the endpoint's participant."""
        endpoint = self.endpoint(letter.endpoint_id)
        participant = endpoint and self.participants.get(endpoint.participant_id)
        if participant and letter.type and participant.is_entitled(letter.type):
            return None
        return f"not entitled: {letter.type} is not open to {letter.participant_id}"

    def excluded(self, letter: DeadLetter, audience: Audience | None) -> str | None:
        """Tell why the endpoint's participant may not see this event, of this sealed audience."""
        endpoint = self.endpoint(letter.endpoint_id)
        if endpoint and audience and (audience == ALL or endpoint.participant_id in audience):
            return None
        return f"not entitled: {letter.participant_id} is not in the event's audience"


def read(sql: "Connection", known: Directory | None = None) -> Directory:
    """Read the directory, unless nothing has changed since it was ``known``."""
    revisions = endpoints.revisions(sql)
    if known is not None and known.revisions == revisions:
        return known
    everybody = {one.id: one for one in participants.find(sql)}
    return Directory(revisions, {one.id: one for one in endpoints.find(sql, removed=True)}, everybody)


def bodiless(where: Where) -> str | None:
    """Tell why there is no body to deliver."""
    match where:
        case "gone":
            return "body gone: it is kept nowhere any more"
        case "corrupt":
            return "body corrupt: it is not what was published"
        case _:
            return None
