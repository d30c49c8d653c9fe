"""A delivery's way out, on one screen: redeem, check, POST, judge.

The handler makes one attempt and says how it ended. When to make it is the lane's affair (`consumers.lane`);
what happens then is decided in `consumers.retry` and carried out in `consumers.disposition`. A stream does
the sending itself, between `Handler.prepare` and `Handler.delivered`.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from claimbus.database.endpoint import Endpoint
from claimbus.events.catalogue import EVENT_TYPES, EventType
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Event
from claimstore.claim import Claim
from claimstore.errors import (
    ClaimCorruptError,
    ClaimError,
    ClaimExpiredError,
    ClaimMissingError,
    StoreUnavailableError,
)
from claimstore.handed import Handed
from claimstore.latest import Latest
from claimstore.store import ClaimStore
from consumers.rendered import Rendered
from consumers.verdict import Outcome, Verdict, judge
from consumers.webhook import Answer, Webhook
from consumers.work import Ready, Trial, Work

RENDERED: Final = 1024
"""Events that are kept, as they are sent, for the next endpoint."""

RENDERED_BODY: Final = 64 * 1024
"""Bytes of the longest body among them."""


class Handler:
    """Makes attempts, for all lanes of a worker and all streams of a portal."""

    def __init__(self, store: ClaimStore, latest: Latest) -> None:
        self._store = store
        self._latest = latest
        self._handed = Handed(store.connection)
        self._types: Mapping[str, EventType] = EVENT_TYPES
        self._rendered: OrderedDict[tuple[str, int | None], Rendered] = OrderedDict()

    def heed(self, types: Mapping[str, EventType]) -> None:
        """Tell of event types' dates as this catalogue has them, from the next attempt on."""
        if types != self._types:
            self._types = types
            self._rendered.clear()

    async def attempt(self, endpoint: Endpoint, webhook: Webhook, work: Work) -> Trial:
        """Deliver once, unless something forbids it. Never raises for what the other side does."""
        ready = await self.prepare(endpoint, work)
        if isinstance(ready, Trial):
            return ready
        event = ready.claim.event
        try:
            answer = await self._post(endpoint, webhook, ready, work)
        except (ClaimError, InvalidEventError, StoreUnavailableError) as failed:
            return Trial(_unsent(failed), ready.started)
        outcome = judge(answer)
        if outcome.verdict is Verdict.DELIVERED:
            await self.delivered(endpoint, event)
        return Trial(outcome, ready.started, event, answer)

    async def prepare(self, endpoint: Endpoint, work: Work) -> Ready | Trial:
        """Redeem a delivery and return what to send; a trial when something forbids it."""
        ticket, started = work.ticket, time.time()
        if started - ticket.age_begins > endpoint.age_limit_s:
            return Trial(Outcome(Verdict.EXPIRED, detail="over the endpoint's age limit"), started)
        try:
            claim = await self._store.redeem(ticket.claim_id, expires=ticket.expires)
            event = claim.event
            if event.audience != ALL and endpoint.participant_id not in event.audience:
                return Trial(Outcome(Verdict.NOT_ENTITLED, detail="not in the audience"), started, event)
            if endpoint.latest_only and await self._superseded(endpoint, event):
                return Trial(Outcome(Verdict.SUPERSEDED, detail="a newer one was delivered"), started, event)
            return Ready(claim, self._render(claim, endpoint.schema_version), started)
        except (ClaimError, InvalidEventError, StoreUnavailableError) as failed:
            return Trial(_unsent(failed), started)

    async def hand_out(self, endpoint: Endpoint, claim: Claim) -> None:
        """Note that an endpoint is about to be sent a claim's ID in place of its body.

        Raises StoreUnavailableError.
        """
        await self._handed.note(claim.id, endpoint.participant_id, expires=claim.expires)

    async def delivered(self, endpoint: Endpoint, event: Event) -> None:
        """Let older statuses of the same outage be superseded, where only the latest is wanted."""
        if endpoint.latest_only and _has_versions(event):
            with suppress(StoreUnavailableError):  # an older status may follow, but this one was delivered
                await self._latest.delivered(endpoint.id, event.partitionkey or "", event.sequence or 0)

    async def _post(self, endpoint: Endpoint, webhook: Webhook, ready: Ready, work: Work) -> Answer:
        claim, rendered = ready.claim, ready.rendered
        message_id, replay, attempt = work.ticket.message_id, work.ticket.replay, work.attempts + 1
        if endpoint.mode == "claim":
            await self.hand_out(endpoint, claim)
            deprecation, sunset = rendered.retiring
            return await webhook.post_claim(
                rendered.event,
                claim_id=claim.id,
                message_id=message_id,
                attempt=attempt,
                replay=replay,
                deprecation=deprecation,
                sunset=sunset,
            )
        event = rendered.event
        return await webhook.post(
            event,
            headers=rendered.headers,
            body=(lambda: self._store.body(claim)) if claim.chunks else event.body,
            message_id=message_id,
            attempt=attempt,
            replay=replay,
        )

    def _render(self, claim: Claim, version: int | None) -> Rendered:
        """Return the event in an endpoint's schema version: once for all endpoints."""
        key = claim.id, version
        found = self._rendered.get(key)
        if found is None:
            found = Rendered.of(claim.event, None if claim.chunks else version, self._types)
            if len(found.event.body) <= RENDERED_BODY:
                self._rendered[key] = found
            if len(self._rendered) > RENDERED:
                self._rendered.popitem(last=False)
        return found

    async def _superseded(self, endpoint: Endpoint, event: Event) -> bool:
        if not _has_versions(event):
            return False
        newest = await self._latest.newest(endpoint.id, event.partitionkey or "")
        return newest is not None and (event.sequence or 0) < newest


def _has_versions(event: Event) -> bool:
    """Tell a status, of which a newer one makes the older superfluous, from a market event or a notice."""
    return event.type.startswith("oms.") and event.partitionkey is not None and event.sequence is not None


def _unsent(failed: Exception) -> Outcome:
    match failed:
        case ClaimExpiredError():
            verdict = Verdict.EXPIRED
        case ClaimMissingError():
            verdict = Verdict.MISSING
        case ClaimCorruptError() | InvalidEventError():
            verdict = Verdict.CORRUPT
        case _:
            verdict = Verdict.STORE_UNAVAILABLE
    return Outcome(verdict, detail=str(failed))
