"""What the product itself says of a run: what was published, given up, skipped, and who is held."""

from collections.abc import Mapping
from typing import Any, Final

from claimbus.broker import journal, topology
from claimbus.broker.topology import DEADLETTERS, endpoint_queue
from claimbus.cli.demo.evidence import Row
from claimbus.cli.demo.stage import Stage
from claimbus.database import attempts, letters
from claimbus.database.attempts import Attempt, Filter
from claimbus.database.letters import EVERYTHING, DeadLetter
from claimstore.holds import Holds

MOST: Final = 1_000_000
"""Statuses that were skipped, or dead letters, of one run."""

SUPERSEDED: Final = Filter(verdicts=("superseded",))


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

    async def count_letters(self) -> Mapping[str, int]:
        """Count the dead letters by state."""
        return await self._stage.database.read(lambda sql: letters.count(sql, EVERYTHING, by="state"))

    async def letters(self) -> list[Row]:
        """Return the dead letters of this stage's endpoints, each with its ``id``, the oldest first."""
        page = await self._stage.database.read(lambda sql: letters.find(sql, EVERYTHING, limit=MOST))
        return [_letter(one) for one in reversed(page.rows) if one.endpoint_id in self._stage.endpoints]

    async def at_rest(self) -> bool:
        """Tell whether no ticket waits in any endpoint's queue, between two attempts, or for the recorder."""
        stage = self._stage
        queues = [endpoint_queue(one.id, one.generation) for one in stage.endpoints.values()]
        queues += [*(rung.queue for rung in stage.wiring.topology.ladder), DEADLETTERS]
        counts = await topology.message_counts(stage.connection, queues)
        return not any(found and found.messages for found in counts.values())

    async def consumed(self) -> bool:
        """Tell whether workers consume every endpoint's queue."""
        stage = self._stage
        queues = [endpoint_queue(one.id, one.generation) for one in stage.endpoints.values()]
        counts = await topology.message_counts(stage.connection, queues)
        return all(found and found.consumers for found in counts.values())


def _row(found: Attempt | DeadLetter) -> dict[str, Any]:
    return {
        "endpoint": found.endpoint_id,
        "type": found.type,
        "partitionkey": found.partitionkey,
        "sequence": found.sequence,
    }


def _letter(found: DeadLetter) -> Row:
    told = {"id": found.id, "cause": found.cause, "state": found.state, "fingerprint": found.fingerprint}
    return _row(found) | told
