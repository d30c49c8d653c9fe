"""Sending the letters of a replay: each looked at once more, with a body that outlives its delivery."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import structlog

from claimbus.broker.codec import redelivery_message
from claimbus.broker.publisher import Publisher
from claimbus.database import attempts
from claimbus.database.engine import Database
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Item
from claimbus.deadletters import readiness
from claimbus.deadletters.bodies import MARGIN, Bodies, Secured
from claimbus.deadletters.readiness import Directory, bodiless
from claimbus.events.errors import UnavailableError
from claimbus.events.ticket import Ticket
from claimstore.holds import Holds
from claimstore.store import ClaimStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = structlog.get_logger("claimbus.deadletters.sending")


class Sent(NamedTuple):
    """What became of a batch, by position: what RabbitMQ has, and why others are not sent.

    Of those that are in neither it is not known.
    """

    confirmed: Collection[int] = ()
    skipped: Mapping[int, str] = {}


class Sending:
    """Sends the items of replays, each to its one endpoint."""

    def __init__(
        self,
        database: Database,
        store: ClaimStore,
        holds: Holds,
        publisher: Publisher,
        *,
        claim_life: timedelta,
    ) -> None:
        self._database = database
        self._holds = holds
        self._publisher = publisher
        self._bodies = Bodies(store, database)
        self._directory: Directory | None = None
        self._claim_life = int(claim_life.total_seconds())

    async def send(self, items: Sequence[Item]) -> Sent:
        """Send items that are allowed and have a body; return when each is answered for, or RabbitMQ is away.

        One that was sent before, as an attempt tells, counts as confirmed. Raises UnavailableError when the
        database or Redis is away; then nothing was sent.
        """
        directory, arrived = await self._database.read(lambda sql: self._look(sql, items))
        fresh = [item for item in items if item.position not in arrived]
        held = await self._holds.state({one.letter.endpoint_id for one in fresh if one.letter.endpoint_id})
        allowed, refused = _part(
            fresh,
            lambda letter: (
                directory.closed(letter, held.get(letter.endpoint_id or "")) or directory.forbidden(letter)
            ),
        )
        now = int(time.time())
        claims = await self._bodies.secure(_needed(directory, allowed, now), now + self._claim_life)

        def claim(letter: DeadLetter) -> Secured:
            return claims[letter.claim_id or ""]

        going, barred = _part(
            allowed,
            lambda letter: (
                bodiless(claim(letter).where) or directory.excluded(letter, claim(letter).audience)
            ),
        )
        tickets = {item.position: _ticket(item, claim(item.letter), now) for item in going}
        return Sent([*arrived, *await self._publish(tickets)], refused | barred)

    def _look(self, sql: "Connection", items: Sequence[Item]) -> tuple[Directory, frozenset[int]]:
        """Return the directory, and the positions of unsure items for which an attempt was made."""
        self._directory = readiness.read(sql, self._directory)
        attempted = (item.position for item in items if item.unsure and _was_attempted(sql, item))
        return self._directory, frozenset(attempted)

    async def _publish(self, tickets: Mapping[int, Ticket]) -> list[int]:
        """Publish tickets; return the positions of those that RabbitMQ has confirmed."""
        confirms: dict[int, asyncio.Future[None]] = {}
        try:
            with suppress(UnavailableError):  # the rest is not sent
                for position, ticket in tickets.items():
                    if not self._publisher.has_place:
                        await self._publisher.place()
                    confirms[position] = self._publisher.send(redelivery_message(ticket))
            if confirms:
                await asyncio.wait(confirms.values())
        finally:
            for confirm in confirms.values():
                confirm.cancel()
        errors = {position: confirm.exception() for position, confirm in confirms.items()}
        for reason, count in Counter(str(error) for error in errors.values() if error).items():
            _log.warning("unconfirmed", letters=count, reason=reason, next="send again")
        return [position for position, error in errors.items() if error is None]


def _part(
    items: Iterable[Item], obstacle: Callable[[DeadLetter], str | None]
) -> tuple[list[Item], dict[int, str]]:
    """Return the items in whose way nothing stands, and of the others, by position, what does."""
    told = [(item, obstacle(item.letter)) for item in items]
    free = [item for item, reason in told if reason is None]
    return free, {item.position: reason for item, reason in told if reason is not None}


def _needed(directory: Directory, items: Iterable[Item], now: int) -> dict[str, int]:
    """Return the second until which each claim must live to outlive its deliveries."""
    needed: dict[str, int] = {}
    for item in items:
        endpoint, claim_id = directory.endpoint(item.letter.endpoint_id), item.letter.claim_id
        if endpoint is not None and claim_id is not None:
            needed[claim_id] = max(needed.get(claim_id, 0), now + endpoint.age_limit_s + MARGIN)
    return needed


def _was_attempted(sql: "Connection", item: Item) -> bool:
    endpoint_id, message_id = item.letter.endpoint_id, item.letter.message_id
    if endpoint_id is None or message_id is None:
        return False
    wanted = attempts.Filter(endpoint_ids=[endpoint_id], message_id=message_id, replay=item.replay_id)
    return bool(attempts.find(sql, wanted, limit=1).rows)


def _ticket(item: Item, claim: Secured, now: int) -> Ticket:
    """Return the ticket of a delivery that begins anew: the same event, for one endpoint."""
    letter = item.letter
    return Ticket(
        claim_id=letter.claim_id or "",
        message_id=letter.message_id or "",
        type=letter.type or "",
        timestamp=letter.timestamp or 0,
        expires=claim.expires or 0,
        partitionkey=letter.partitionkey,
        sequence=letter.sequence,
        traceparent=letter.traceparent,
        endpoint=letter.endpoint_id,
        attempt=0,
        released=now,
        replay=item.replay_id,
    )
