"""How many endpoints participants have, by their states."""

from collections import Counter
from collections.abc import Collection
from typing import Final

from claimbus.database import directory
from claimbus.database.access import Principal
from claimbus.database.endpoint import State
from claimbus.portal.desk import scope
from claimbus.portal.services import Services

MOST: Final = 10_000
"""Endpoints that are counted."""


async def of(
    services: Services, who: Principal, participant_ids: Collection[str]
) -> dict[str, Counter[State]]:
    """Count these participants' endpoints, a page of participants at a time. Raises ForbiddenError."""
    for one in participant_ids:
        scope.narrowed(who, one)
    found = await services.database.read(
        lambda sql: directory.endpoints(sql, participant_ids=participant_ids, limit=MOST)
    )
    counts: dict[str, Counter[State]] = {one: Counter() for one in participant_ids}
    for endpoint in found.rows:
        counts[endpoint.participant_id][endpoint.state] += 1
    return counts
