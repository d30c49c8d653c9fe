"""What an endpoint should have had, and did not get: told by tickets, attempts and claims, batch by batch."""

import time
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cache
from typing import Final

import structlog

from claimbus.database import attempts, kept
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.participants import Participant
from claimbus.deadletters.redelivery import Due
from claimbus.events.event import ALL
from claimbus.events.routing import matches
from claimbus.events.ticket import Ticket
from claimstore.store import ClaimStore

SETTLED: Final = ("delivered", "superseded")

_log = structlog.get_logger("claimbus.deadletters.missed")


class Missed:
    """Finds what is due to an endpoint, and counts why the rest is not.

    What it is subscribed to, and what is open to its participant, counts as it is now; ``pattern`` narrows
    it. ``everything``: what it got is due, too. ``counts`` has ``concerning``, ``settled``, ``not entitled``,
    ``gone`` and ``due``: see `claimbus.deadletters.recover.Recovered`.
    """

    def __init__(
        self,
        database: Database,
        store: ClaimStore,
        endpoint: Endpoint,
        participant: Participant,
        *,
        pattern: str | None,
        everything: bool,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._database = database
        self._store = store
        self._endpoint = endpoint
        self._participant = participant
        self._everything = everything

        @cache
        def concerns(event_type: str) -> bool:
            return (
                any(matches(one, event_type) for one in endpoint.subscriptions)
                and participant.is_entitled(event_type)
                and (pattern is None or matches(pattern, event_type))
            )

        self._concerns = concerns

    async def of(self, tickets: Iterable[Ticket]) -> list[Due]:
        """Return what of these is due, in their order; an event once. Raises UnavailableError."""
        # Of one that was published again, because it was not confirmed, the later ticket knows better.
        concerning = {ticket.message_id: ticket for ticket in tickets if self._concerns(ticket.type)}
        settled = await self._settled(concerning)
        self.counts.update(concerning=len(concerning), settled=len(settled))
        wanted = [
            ticket
            for message_id, ticket in concerning.items()
            if self._everything or message_id not in settled
        ]
        claims = await self._store.glance(ticket.claim_id for ticket in wanted)
        lost = [ticket.claim_id for ticket in wanted if ticket.claim_id not in claims]
        audiences = {claim_id: claim.audience for claim_id, claim in claims.items()}
        if lost:
            audiences |= await self._database.read(lambda sql: kept.audiences(sql, lost))
        due = []
        for ticket in wanted:
            audience = audiences.get(ticket.claim_id)
            if audience is None:
                self._report_gone(ticket)
            elif audience == ALL or self._participant.id in audience:
                due.append(Due(ticket, claims.get(ticket.claim_id)))
            else:
                self.counts["not entitled"] += 1
        self.counts["due"] += len(due)
        return due

    async def _settled(self, message_ids: Collection[str]) -> frozenset[str]:
        if not message_ids:
            return frozenset()
        return await self._database.read(
            lambda sql: attempts.delivered(sql, self._endpoint.id, message_ids, verdicts=SETTLED)
        )

    def _report_gone(self, ticket: Ticket) -> None:
        self.counts["gone"] += 1
        if ticket.expires > time.time():
            _log.error(
                "claim gone before its time",
                claim_id=ticket.claim_id,
                message_id=ticket.message_id,
                next="not recovered, whoever it was for",
            )
