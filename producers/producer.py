"""Publishing: check in, then publish.

The whole story of an event on its way in::

    admitted by the catalogue -> identity -> checked in to Redis -> ticket to RabbitMQ, confirmed -> identity

A publish has succeeded when Redis has the claim and RabbitMQ confirmed the ticket. A failure between leaves a
claim that expires by itself, never a ticket without a body.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from claimbus.broker.publisher import Publisher
from claimbus.events.catalogue import admit, lookup
from claimbus.events.errors import ClaimbusError, InvalidEventError
from claimbus.events.event import ALL, Audience, Event, check, new_id
from claimbus.events.routing import route
from claimbus.events.ticket import Ticket
from claimstore.claim import CheckedIn, new_claim_id
from claimstore.identities import Confirmed, Identities, Unconfirmed
from claimstore.store import ClaimStore

IN_FLIGHT: Final = 2000
"""Events of one `Producer.publish_many` under way at once: bounds its memory, not its speed."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a publish. ``published`` is False when this very event had been confirmed before."""

    message_id: str
    published: bool


class PublishingFailedError(ClaimbusError, ExceptionGroup[Exception]):
    """Some events of a `Producer.publish_many` were not published; the others were."""

    def derive(  # type: ignore[override]  # which wants it generic
        self, failures: Sequence[Exception], /
    ) -> "PublishingFailedError":
        """Return one with the same message and other failures, for ``except*`` and `subgroup`."""
        return PublishingFailedError(self.message, failures)


class Producer:
    """Publishes the events of one ISO system, for any number of concurrent callers in one event loop."""

    def __init__(
        self,
        store: ClaimStore,
        identities: Identities,
        publisher: Publisher,
        *,
        source: str,
        participants: Callable[[], frozenset[str]] | None = None,
        published: Callable[[str], None] | None = None,
    ) -> None:
        """Wire a producer to open connections, which stay their opener's.

        ``source`` is the CloudEvents source of the events that `event` makes. ``participants`` gives the IDs
        that an audience may name; without it any well-formed ID passes. ``published`` is called with the
        type of each confirmed event.
        """
        self.source = source
        self._store = store
        self._identities = identities
        self._publisher = publisher
        self._participants = participants
        self._published = published

    def event(
        self, type_: str, body: bytes, *, audience: Audience = ALL, datacontenttype: str = "application/json"
    ) -> Event:
        """Return a new event of this source, now, under an ID of its own; it is ``fresh``."""
        return Event(
            type=type_,
            source=self.source,
            id=new_id(),
            time=datetime.now(UTC),
            body=body,
            audience=audience,
            datacontenttype=datacontenttype,
        )

    async def publish(self, event: Event, *, fresh: bool = False) -> Receipt:
        """Publish an event once.

        A second publish of an event that was confirmed is recognised by its source and ID and skipped; one
        that was not confirmed is carried through. ``fresh`` promises that the ID was made a moment ago, as
        `event` does, and saves looking it up.

        Raises InvalidEventError, with the field, before anything is stored; IdentityConflictError when the ID
        was used with another body; UnavailableError when Redis or RabbitMQ cannot take it: publish it again.
        """
        event = self._admitted(event)
        if fresh:
            await self._ticket(event, await self._store.check_in(event))
            return Receipt(event.identity, published=True)
        message_id, claim_id = event.identity, new_claim_id()
        standing = await self._identities.begin(message_id, hashlib.sha256(event.body).digest(), claim_id)
        if isinstance(standing, Confirmed):
            return Receipt(message_id, published=False)
        if isinstance(standing, Unconfirmed):
            claim_id = standing.claim_id
        await self._ticket(event, await self._store.check_in(event, claim_id=claim_id))
        await self._identities.confirm([message_id])
        return Receipt(message_id, published=True)

    async def publish_many(self, events: Sequence[Event], *, fresh: bool = False) -> list[Receipt]:
        """Publish events side by side, in no particular order; the receipts come in theirs.

        All are checked before the first is stored. When some fail the others are still carried through, and
        then PublishingFailedError holds the failures; publishing all of them again is safe unless ``fresh``.
        """
        for event in events:
            self._admitted(event)
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one(event: Event) -> Receipt:
            async with places:
                return await self.publish(event, fresh=fresh)

        ended = await asyncio.gather(*map(one, events), return_exceptions=True)
        failures = [end for end in ended if isinstance(end, Exception)]
        if failures:
            raise PublishingFailedError(f"{len(failures)} of {len(events)} events", failures)
        return [end for end in ended if isinstance(end, Receipt)]

    async def publish_stream(self, event: Event, body: AsyncIterable[bytes]) -> Receipt:
        """Publish a fresh event whose body is streamed into the store with flat memory.

        ``event.body`` does not count, and the body is not looked into. Raises what `publish` raises, and what
        ``body`` raises; then nothing was published.
        """
        check(event)
        lookup(event.type)
        self._check_audience(event)
        event = _traced(event)
        await self._ticket(event, await self._store.check_in_stream(event, body))
        return Receipt(event.identity, published=True)

    async def _ticket(self, event: Event, checked_in: CheckedIn) -> None:
        ticket = Ticket(
            claim_id=checked_in.claim_id,
            message_id=event.identity,
            type=event.type,
            timestamp=int(datetime.now(UTC).timestamp()),
            expires=checked_in.expires,
            partitionkey=event.partitionkey,
            sequence=event.sequence,
            traceparent=event.traceparent,
        )
        await self._publisher.publish_ticket(ticket, route(event.type, event.audience))
        if self._published is not None:
            self._published(event.type)

    def _admitted(self, event: Event) -> Event:
        event = admit(event)
        self._check_audience(event)
        return _traced(event)

    def _check_audience(self, event: Event) -> None:
        if self._participants is None or event.audience == ALL:
            return
        unknown = event.audience - self._participants()
        if unknown:
            raise InvalidEventError("audience", f"there is no participant {', '.join(sorted(unknown))}")


def _traced(event: Event) -> Event:
    """Return the event with the caller's trace, if there is one and the event has none."""
    span = get_current_span().get_span_context()
    if event.traceparent is not None or not span.is_valid:
        return event
    trace, parent = format_trace_id(span.trace_id), format_span_id(span.span_id)
    return replace(event, traceparent=f"00-{trace}-{parent}-{span.trace_flags:02x}")
