"""What each worker does of an endpoint's deliveries, so that the endpoint's limits hold over all workers.

Every worker computes the same from the same view of who is there (`consumers.crew`), without asking anybody.
"""

from collections.abc import Collection
from hashlib import blake2b
from heapq import nsmallest
from typing import Final, NamedTuple

from claimbus.database.endpoint import Endpoint

SPREAD: Final = 3
"""Workers at most that work on one endpoint: two may die at once, and more would only cost channels."""

ORDERED: Final = 2
"""Workers on an ordered endpoint: one has it, and the other stands by."""


class Share(NamedTuple):
    """A worker's part of an endpoint: requests at once, and deliveries a second (None: no limit).

    ``place`` counts the endpoint's workers from 0. Of an ordered endpoint's each has the whole, since
    RabbitMQ gives its deliveries to one of them at a time; the one at place 0 is wanted.
    """

    place: int
    concurrency: int
    pace: float | None


def share_of(endpoint: Endpoint, worker: str, workers: Collection[str]) -> Share | None:
    """Return one worker's share of an endpoint; None when others work on it.

    The shares of all ``workers`` add up to the endpoint's limits. Who works on it is decided by rendezvous
    hashing: a worker that comes or goes moves nothing between others.
    """
    chosen = nsmallest(_wanted(endpoint), workers, key=lambda name: _rank(endpoint.id, name))
    if worker not in chosen:
        return None
    place, pace = chosen.index(worker), endpoint.pace
    if endpoint.ordered:
        return Share(place, 1, pace)
    whole, rest = divmod(endpoint.concurrency, len(chosen))
    return Share(place, whole + (place < rest), None if pace is None else pace / len(chosen))


def _wanted(endpoint: Endpoint) -> int:
    """Return how many workers an endpoint should have: each is to have a request at a time, or more.

    And a delivery a second: several of which each sends now and then would now and then send together.
    """
    if endpoint.ordered:
        return ORDERED
    most = min(SPREAD, endpoint.concurrency)
    return most if endpoint.pace is None else max(1, min(most, int(endpoint.pace)))


def _rank(endpoint_id: str, worker: str) -> bytes:
    return blake2b(f"{endpoint_id} {worker}".encode(), digest_size=16).digest()
