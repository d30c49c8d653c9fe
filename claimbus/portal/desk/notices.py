"""Notices to participants: seen before they go out, and by whom they will be received."""

from dataclasses import dataclass
from datetime import UTC, datetime

from claimbus.database import audit, participants
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act, Subject
from claimbus.events import catalogue
from claimbus.events.errors import ClaimbusError, InvalidInputError
from claimbus.events.event import ALL, Audience, Event, audience_of, new_id
from claimbus.events.notices import notice_event
from claimbus.events.schemas import NoticeKind
from claimbus.portal.desk import patience, scope
from claimbus.portal.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A notice that is being written. ``participants``: to these only; empty: to all."""

    title: str
    text: str
    kind: NoticeKind = "general"
    effective: datetime | None = None
    ends: datetime | None = None
    url: str | None = None
    participants: frozenset[str] = frozenset()
    notice_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The event as it would go out, and who would receive it: those to whom its type is open."""

    event: Event
    recipients: tuple[str, ...]
    excluded: tuple[str, ...]


async def preview(services: Services, who: Principal, draft: Draft) -> Preview:
    """Show a notice; nothing is published. Raises InvalidInputError naming the field at fault."""
    scope.must_be(who, Role.OPERATOR)
    event = _event(services, draft)
    known = await services.database.read(participants.find)
    unknown = draft.participants.difference(one.id for one in known)
    if unknown:
        raise InvalidInputError("participants", f"there is no participant {', '.join(sorted(unknown))}")
    addressed = [one for one in known if not draft.participants or one.id in draft.participants]
    return Preview(
        event=event,
        recipients=tuple(one.id for one in addressed if one.is_entitled(event.type)),
        excluded=tuple(one.id for one in addressed if not one.is_entitled(event.type)),
    )


async def publish(services: Services, who: Principal, draft: Draft, *, reason: str = "") -> Event:
    """Publish a notice; return it once RabbitMQ has confirmed. A second one with its ID is the same one."""
    shown = await preview(services, who, draft)
    act, subject = Act(who.name, reason), Subject("notice", shown.event.id)
    told: audit.State = {"title": draft.title, "kind": draft.kind, "to": sorted(draft.participants) or ALL}
    await services.database.run(lambda sql: audit.append(sql, act, "published", subject, after=told))
    try:
        async with patience.bounded(services):
            await services.producer("system").publish(shown.event, fresh=not draft.notice_id)
    except ClaimbusError as failed:
        broken = Act(who.name, str(failed))
        await services.database.run(lambda sql: audit.append(sql, broken, "not confirmed", subject))
        raise
    return shown.event


def _event(services: Services, draft: Draft) -> Event:
    now = datetime.now(UTC)
    if draft.ends is not None and draft.ends <= (draft.effective or now):
        raise InvalidInputError("ends", "is not later than when it takes effect")
    audience: Audience = audience_of(draft.participants) if draft.participants else ALL
    event = notice_event(
        draft.kind,
        notice_id=draft.notice_id or new_id(),
        title=draft.title.strip(),
        text=draft.text.strip(),
        effective=draft.effective or now,
        source=services.source("system"),
        at=now,
        ends=draft.ends,
        url=draft.url or None,
        audience=audience,
    )
    catalogue.check(event)
    return event
