"""The ISO's side of a webhook, for tests: signed requests, made by the code that makes the real ones."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from claimbus.events.event import Event
from claimbus.subscribers.received import Received
from consumers.binding import event_headers
from consumers.signature import Signer, new_secret

SECRET = new_secret()


def an_event(number: int = 1, **changes: Any) -> Event:  # noqa: ANN401 - an event's fields
    """A status of an outage, the number ``number``."""
    event = Event(
        type="oms.resource-outage.status-changed",
        source="urn:iso:test:oms",
        id=f"event-{number}",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        body=b'{"number": %d}' % number,
        audience="all",
    )
    return replace(event, **changes)


def signed(
    event: Event,
    *secrets: str,
    attempt: int = 1,
    replay: str | None = None,
    at: float | None = None,
    message_id: str | None = None,
) -> tuple[dict[str, str], bytes]:
    """A webhook's headers and body, signed at a time by `SECRET` or the secrets given."""
    timestamp, name = int(time.time() if at is None else at), message_id or event.identity
    headers = dict(event_headers(event)) | {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": Signer(secrets or (SECRET,)).sign(name, timestamp, event.body),
        "claimbus-attempt": str(attempt),
    }
    if replay is not None:
        headers["claimbus-replay"] = replay
    return headers, event.body


def received(number: int = 1, **changes: Any) -> Received:  # noqa: ANN401 - an event's fields
    """An event as it arrives."""
    event = an_event(number, **changes)
    return Received(message_id=event.identity, attributes=event.attributes(), body=event.body)
