"""What the ISO tells about the bus itself: notices to participants, and news of one's own endpoints."""

from datetime import datetime
from typing import Literal

from claimbus.events.bodies import Body, encoded
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Audience, Event, format_time, new_id
from claimbus.events.schemas import NoticeKind

EndpointEvent = Literal["test", "held", "released", "disabled"]


def notice_event(
    kind: NoticeKind,
    *,
    notice_id: str,
    title: str,
    text: str,
    effective: datetime,
    source: str,
    at: datetime,
    ends: datetime | None = None,
    url: str | None = None,
    audience: Audience = ALL,
) -> Event:
    """Return a notice that holds from ``effective`` on, to ``ends`` if that is known.

    ``notice_id`` is the event's ID too: a notice is published once, an amended one under another ID.
    """
    body: Body = {"notice_id": notice_id, "kind": kind, "title": title, "text": text}
    body["effective"] = format_time(effective)
    if ends is not None:
        body["ends"] = format_time(ends)
    if url is not None:
        body["url"] = url
    return _system_event("notice.published", notice_id, body, source=source, at=at, audience=audience)


def endpoint_event(
    event: EndpointEvent,
    endpoint: str,
    *,
    participant: str,
    source: str,
    at: datetime,
    reason: str | None = None,
    since: datetime | None = None,
) -> Event:
    """Return news of an endpoint for the participant that it belongs to, and nobody else.

    ``reason`` is required when it was held or disabled; ``since`` tells when that began.
    """
    body: Body = {"endpoint": endpoint}
    if reason is not None:
        body["reason"] = reason
    if since is not None:
        body["since"] = format_time(since)
    audience = frozenset({participant})
    return _system_event(f"endpoint.{event}", new_id(), body, source=source, at=at, audience=audience)


def _system_event(
    name: str, event_id: str, body: Body, *, source: str, at: datetime, audience: Audience
) -> Event:
    kind = lookup(f"system.{name}")
    return Event(
        type=kind.name,
        source=source,
        id=event_id,
        time=at,
        body=encoded(body),
        audience=audience,
        subject=kind.partitionkey(body),
        dataschema=kind.newest.uri,
        partitionkey=kind.partitionkey(body),
    )
