"""A delivery's way out, on one screen: redeem, check, POST, judge.

The handler makes one attempt and says how it ended. When to make it is the lane's affair (`consumers.lane`);
what happens then is decided in `consumers.retry` and carried out in `consumers.disposition`.
"""

import time
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, date, datetime
from datetime import time as clock
from typing import Final

from claimbus.database.endpoint import Endpoint
from claimbus.events import catalogue
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Event
from claimstore.claim import Claim
from claimstore.errors import (
    ClaimCorruptError,
    ClaimExpiredError,
    ClaimMissingError,
    StoreUnavailableError,
)
from claimstore.latest import Latest
from claimstore.store import ClaimStore
from consumers.verdict import Outcome, Verdict, judge
from consumers.webhook import Answer, EventHeaders, Webhook, event_headers
from consumers.work import Trial, Work

RENDERED: Final = 1024
"""Events whose headers and converted bodies are kept for the next endpoint."""


class Handler:
    """Makes attempts, for all lanes of a worker."""

    def __init__(self, store: ClaimStore, latest: Latest) -> None:
        self._store = store
        self._latest = latest
        self._rendered: OrderedDict[tuple[str, int | None], tuple[Event, EventHeaders]] = OrderedDict()

    async def attempt(self, endpoint: Endpoint, webhook: Webhook, work: Work) -> Trial:
        """Deliver once, unless something forbids it. Never raises for what the other side does."""
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
            answer = await self._post(endpoint, webhook, claim, work)
        except ClaimExpiredError as gone:
            return Trial(Outcome(Verdict.EXPIRED, detail=str(gone)), started)
        except ClaimMissingError as gone:
            return Trial(Outcome(Verdict.MISSING, detail=str(gone)), started)
        except (ClaimCorruptError, InvalidEventError) as broken:
            return Trial(Outcome(Verdict.CORRUPT, detail=str(broken)), started)
        except StoreUnavailableError as away:
            return Trial(Outcome(Verdict.STORE_UNAVAILABLE, detail=str(away)), started)
        outcome = judge(answer)
        if endpoint.latest_only and outcome.verdict is Verdict.DELIVERED:
            with suppress(StoreUnavailableError):  # an older status may follow, but this one was delivered
                await self._delivered(endpoint, event)
        return Trial(outcome, started, event, answer)

    async def _post(self, endpoint: Endpoint, webhook: Webhook, claim: Claim, work: Work) -> Answer:
        event, headers = self._render(claim, endpoint.schema_version)
        message_id, replay, attempt = work.ticket.message_id, work.ticket.replay, work.attempts + 1
        if endpoint.mode == "claim":
            deprecated, sunset = catalogue.retirement(event)
            return await webhook.post_claim(
                event,
                claim_id=claim.id,
                message_id=message_id,
                attempt=attempt,
                replay=replay,
                deprecation=_midnight(deprecated),
                sunset=_midnight(sunset),
            )
        body = (lambda: self._store.body(claim)) if claim.chunks else event.body
        return await webhook.post(
            event, headers=headers, body=body, message_id=message_id, attempt=attempt, replay=replay
        )

    def _render(self, claim: Claim, version: int | None) -> tuple[Event, EventHeaders]:
        """Return the event in an endpoint's schema version, and its headers: once for all endpoints."""
        key = claim.id, version
        found = self._rendered.get(key)
        if found is None:
            event = claim.event if version is None or claim.chunks else _converted(claim.event, version)
            deprecated, sunset = catalogue.retirement(event)
            headers = event_headers(event, deprecation=_midnight(deprecated), sunset=_midnight(sunset))
            found = self._rendered[key] = event, headers
            if len(self._rendered) > RENDERED:
                self._rendered.popitem(last=False)
        return found

    async def _superseded(self, endpoint: Endpoint, event: Event) -> bool:
        if not _has_versions(event):
            return False
        newest = await self._latest.newest(endpoint.id, event.partitionkey or "")
        return newest is not None and (event.sequence or 0) < newest

    async def _delivered(self, endpoint: Endpoint, event: Event) -> None:
        if _has_versions(event):
            await self._latest.delivered(endpoint.id, event.partitionkey or "", event.sequence or 0)


def _has_versions(event: Event) -> bool:
    """Tell a status, of which a newer one makes the older superfluous, from a market event or a notice."""
    return event.type.startswith("oms.") and event.partitionkey is not None and event.sequence is not None


def _converted(event: Event, version: int) -> Event:
    """Return the event in the version, or in the type's oldest or newest where it has no such version."""
    known = [one.version for one in catalogue.lookup(event.type).versions]
    return catalogue.convert(event, min(max(version, known[0]), known[-1]))


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, clock.min, UTC)
