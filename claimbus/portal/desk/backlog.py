"""What waits in endpoints' queues, as RabbitMQ counts it: the tickets that nobody has taken yet."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Final

from claimbus.broker import topology
from claimbus.broker.channel import QueueCounts
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.database.endpoint import Endpoint
from claimbus.portal.desk import memory, patience
from claimbus.portal.services import Services

KEPT: Final = 2.0
"""Seconds for which a count counts."""

WITHIN: Final = 5.0
"""Seconds for all counts together."""

AT_ONCE: Final = 8
"""Channels that ask side by side: each waits for one answer at a time."""


class Backlog:
    """The counts of a portal's last looks."""

    def __init__(self) -> None:
        self._looking = asyncio.Lock()
        self._known: dict[str, tuple[float, QueueCounts | None]] = {}

    async def look(
        self, services: Services, endpoints: Collection[Endpoint], kept: float
    ) -> dict[str, QueueCounts | None]:
        """Return each endpoint's counts by its ID, at most ``kept`` seconds old."""
        async with self._looking:
            oldest = time.monotonic() - kept
            unknown = [one for one in endpoints if self._known.get(one.id, (0.0, None))[0] <= oldest]
            for endpoint_id, counts in (await _counted(services, unknown)).items():
                self._known[endpoint_id] = (time.monotonic(), counts)
        return {one.id: self._known[one.id][1] for one in endpoints}


async def of(
    services: Services, endpoints: Collection[Endpoint], *, kept: float = KEPT
) -> Mapping[str, QueueCounts | None]:
    """Return what waits in each endpoint's queue, by its ID; None for one that has no queue (yet).

    Raises BrokerUnavailableError.
    """
    try:
        async with asyncio.timeout(WITHIN):
            return await memory.of(services).the(Backlog).look(services, endpoints, kept)
    except TimeoutError as late:
        raise BrokerUnavailableError(f"RabbitMQ counted no queues within {WITHIN:g} s") from late


async def _counted(services: Services, endpoints: Collection[Endpoint]) -> dict[str, QueueCounts | None]:
    patience.must_be_connected(services)
    queues = {
        topology.endpoint_queue(one.id, one.generation): one.id for one in endpoints if one.removed_at is None
    }
    names = list(queues)
    shares = [share for n in range(AT_ONCE) if (share := names[n::AT_ONCE])]
    found = await asyncio.gather(*(topology.message_counts(services.consuming, share) for share in shares))
    counted = {queues[name]: counts for share in found for name, counts in share.items()}
    return {one.id: counted.get(one.id) for one in endpoints}
