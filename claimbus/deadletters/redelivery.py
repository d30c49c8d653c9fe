"""Sending deliveries of one endpoint again: each with a body that outlives it, in their order, at a rate."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import structlog

from claimbus.broker.publisher import Publisher
from claimbus.database.endpoint import Endpoint
from claimbus.deadletters.bodies import MARGIN, Bodies
from claimbus.deadletters.errors import BodyGoneError
from claimbus.deadletters.together import together
from claimbus.events.ticket import Ticket
from claimstore.errors import ClaimCorruptError
from claimstore.glance import Glance
from claimstore.store import ClaimStore

_log = structlog.get_logger("claimbus.deadletters.redelivery")


class Due(NamedTuple):
    """A delivery to send again, and its claim in Redis; None when only a dead letter's copy is there."""

    ticket: Ticket
    claim: Glance | None


class Redelivery:
    """Sends deliveries to one endpoint again.

    ``name`` is what their tickets carry; ``rate`` is in deliveries a second, None: no limit.
    """

    def __init__(
        self,
        store: ClaimStore,
        bodies: Bodies,
        publisher: Publisher,
        endpoint: Endpoint,
        *,
        name: str,
        rate: float | None,
        claim_life: timedelta,
    ) -> None:
        self.name = name
        self.sent = 0
        """How many deliveries RabbitMQ has confirmed."""
        self.gone = 0
        """How many were not sent: their body was nowhere."""
        self._store = store
        self._bodies = bodies
        self._publisher = publisher
        self._endpoint = endpoint
        self._gap = 0.0 if rate is None else 1 / rate
        self._claim_life = int(claim_life.total_seconds())
        self._next = 0.0

    async def send(self, due: Sequence[Due]) -> None:
        """Send them; return when all are confirmed. One whose body is gone is left out, and logged.

        Raises UnavailableError; then it is open how many of them were sent.
        """
        lasting = await self._secure(due)
        tickets = [replace(one, expires=lasting[one.claim_id]) for one, _ in due if one.claim_id in lasting]
        self.gone += len(due) - len(tickets)
        if self._endpoint.ordered:
            for ticket in tickets:
                await self._publish(ticket)
            return
        await together(self._publish(ticket) for ticket in tickets)

    async def _publish(self, ticket: Ticket) -> None:
        await self._turn()
        await self._publisher.publish_redelivery(
            replace(
                ticket, endpoint=self._endpoint.id, attempt=0, released=int(time.time()), replay=self.name
            )
        )
        self.sent += 1

    async def _turn(self) -> None:
        """Wait for a moment of one's own; moments are given out in the order of asking."""
        if self._gap:
            now = asyncio.get_running_loop().time()
            moment = max(self._next, now)
            self._next = moment + self._gap
            await asyncio.sleep(moment - now)

    async def _secure(self, due: Sequence[Due]) -> dict[str, int]:
        """Let each claim live as long as its delivery may; return until when, for those that are there."""
        now, sending = int(time.time()), int(len(due) * self._gap)
        until, needed = now + self._claim_life, now + sending + self._endpoint.age_limit_s + MARGIN
        found = {ticket.claim_id: claim for ticket, claim in due if claim is not None}
        short = {claim_id: claim for claim_id, claim in found.items() if claim.expires < needed}
        prolonged = await self._store.prolong(short, until)
        lasting = {claim_id: claim.expires for claim_id, claim in found.items() if claim_id not in short}
        lasting |= dict.fromkeys(prolonged, until)
        lost = {ticket.claim_id for ticket, _ in due} - lasting.keys()
        back = await asyncio.gather(*(self._put_back(claim_id, until) for claim_id in lost))
        return lasting | {claim_id: until for claim_id, is_back in zip(lost, back, strict=True) if is_back}

    async def _put_back(self, claim_id: str, until: int) -> bool:
        try:
            await self._bodies.put_back(claim_id, until)
        except (BodyGoneError, ClaimCorruptError) as gone:
            _log.error("not sent again", endpoint=self._endpoint.id, claim_id=claim_id, reason=str(gone))
            return False
        return True
