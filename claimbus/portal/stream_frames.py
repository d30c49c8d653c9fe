"""From a delivery that is ready to its frame, and what is known of one that was sent."""

from dataclasses import dataclass

from claimbus.database.endpoint import Endpoint
from claimbus.events.event import Event
from claimbus.events.stream import MAX_BODY, Delivery
from consumers.work import Ready, Work


@dataclass(slots=True)
class Sent:
    """A frame that waits for its answer. ``started`` is in seconds since the epoch, ``at`` monotonic."""

    work: Work
    event: Event
    started: float
    at: float


def is_by_reference(endpoint: Endpoint, ready: Ready) -> bool:
    """Tell whether an endpoint is sent where to fetch the body, in place of the body."""
    too_large = ready.claim.chunks or len(ready.rendered.event.body) > MAX_BODY
    return endpoint.mode == "claim" or bool(too_large)


def frame_of(number: int, work: Work, ready: Ready, *, dataref: str | None) -> bytes:
    """Return the frame of a delivery, with its body unless there is a ``dataref``."""
    rendered, ticket = ready.rendered, work.ticket
    return Delivery(
        delivery=number,
        attempt=work.attempts + 1,
        message_id=ticket.message_id,
        event=rendered.attributes,
        body=rendered.event.body if dataref is None else None,
        dataref=dataref,
        replay=ticket.replay,
        deprecation=rendered.retirement.get("deprecation"),
        sunset=rendered.retirement.get("sunset"),
    ).encode()
