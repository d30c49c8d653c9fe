"""What the product itself says of a run: what was published, given up, skipped, and who is held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from claimbus.broker import journal, topology
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.topology import DEADLETTERS, endpoint_queue
from claimbus.cli.demo.stage import Stage
from claimbus.cli.demo.verdict import Row
from claimbus.database import attempts
from claimbus.database.attempts import Attempt, Filter
from claimstore.holds import Holds

NO_LIMIT: Final = 0
MOST: Final = 1_000_000
"""Statuses that were skipped, of one run."""

SUPERSEDED: Final = Filter(verdicts=("superseded",))


class Letters:
    """The dead letters, read where they lie: taken and never acked, so that they stay there."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._found: dict[tuple[str, str], Row] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, stage: Stage) -> AsyncIterator["Letters"]:
        """Read until the end of the context. Raises UnavailableError."""
        letters, consumer = cls(stage), Consumer(stage.connection)
        await consumer.start(DEADLETTERS, prefetch=NO_LIMIT, on_delivery=letters._take)
        try:
            yield letters
        finally:
            await consumer.stop()

    @property
    def rows(self) -> list[Row]:
        """Those of this stage's endpoints, each once."""
        return list(self._found.values())

    async def complete(self) -> bool:
        """Tell whether all that lay there has been read."""
        counts = await topology.message_counts(self._stage.connection, [DEADLETTERS])
        return (found := counts[DEADLETTERS]) is not None and found.messages == 0

    def _take(self, delivery: Delivery) -> None:
        letter = delivery.letter()
        if letter.endpoint not in self._stage.endpoints:
            return
        ticket = letter.ticket
        self._found[letter.endpoint, ticket.message_id if ticket else letter.body.hex()] = {
            "endpoint": letter.endpoint,
            "type": ticket and ticket.type,
            "partitionkey": ticket and ticket.partitionkey,
            "sequence": ticket and ticket.sequence,
            "cause": letter.cause,
        }


class Records:
    """The product's records of one stage. What cannot be asked at the moment raises UnavailableError."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._holds = Holds(stage.store.connection)

    async def published(self) -> int:
        """Count the events, others than the workers' own, that the journal holds."""
        began = self._stage.began
        entries = journal.read(self._stage.connection, since=began)
        tickets = [entry.ticket async for entry in entries if entry.ticket is not None]
        return len(
            {
                ticket.message_id
                for ticket in tickets
                if ticket.timestamp >= int(began.timestamp()) and not ticket.type.startswith("system.")
            }
        )

    async def held(self) -> set[str]:
        """Return the participants whose endpoints are held."""
        states = await self._holds.state(self._stage.endpoints)
        return {self._stage.endpoints[id_].participant_id for id_, state in states.items() if state.held}

    async def count_superseded(self) -> int:
        """Count the statuses that were skipped."""
        counts = await self._stage.database.read(lambda sql: attempts.count(sql, SUPERSEDED))
        return sum(counts.values())

    async def superseded(self) -> list[Row]:
        """Return the statuses that were skipped because a newer one had been delivered."""
        page = await self._stage.database.read(lambda sql: attempts.find(sql, SUPERSEDED, limit=MOST))
        return [_row(one) for one in page.rows]

    async def at_rest(self) -> bool:
        """Tell whether no ticket waits in any endpoint's queue, or between two attempts."""
        stage = self._stage
        queues = [endpoint_queue(one.id, one.generation) for one in stage.endpoints.values()]
        queues += [rung.queue for rung in stage.wiring.topology.ladder]
        counts = await topology.message_counts(stage.connection, queues)
        return not any(found and found.messages for found in counts.values())

    async def consumed(self) -> bool:
        """Tell whether workers consume every endpoint's queue."""
        stage = self._stage
        queues = [endpoint_queue(one.id, one.generation) for one in stage.endpoints.values()]
        counts = await topology.message_counts(stage.connection, queues)
        return all(found and found.consumers for found in counts.values())


def _row(attempt: Attempt) -> Row:
    return {
        "endpoint": attempt.endpoint_id,
        "type": attempt.type,
        "partitionkey": attempt.partitionkey,
        "sequence": attempt.sequence,
    }
