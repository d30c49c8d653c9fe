"""What the overview is made of: each part as a value, or why it is not there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from claimbus.database.endpoint import Endpoint
from claimstore.checks import Projection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of the overview, or ``why`` it is not there."""

    found: T | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """All deliveries of the last minute, a second; how long the receivers took, in ms (None: no delivery)."""

    deliveries_rate: float
    failures_rate: float
    p50_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Events a second; ms from publishing to the receiver's answer, of what its first attempt delivered.

    Rates count over ``seconds``. Latencies hold the clocks of this portal and of the workers together; None:
    nothing was seen on its whole way yet.
    """

    events_rate: float | None
    seconds: float
    p50_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tickets in an endpoint's queue, and how many workers or streams take from it."""

    endpoint: Endpoint
    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for all endpoints together, and the longest queues."""

    total: int
    longest: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Workers:
    """How many active webhooks there are, and those of them whose queue nobody takes from.

    Those that were added or verified a moment ago are left out: workers are about to take from them.
    """

    active: int
    unattended: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An endpoint that is held."""

    endpoint: Endpoint
    since: datetime
    why: str
    failures: int
    next_probe: datetime | None


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters with a cause: how many there are, and how many of them came in the last hour."""

    cause: str
    count: int
    last_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitMQ:
    """``blocked``: why it takes no messages (an alarm), empty when it does.

    ``unrecorded`` dead letters are in no database yet.
    """

    version: str
    blocked: str
    unrecorded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """Bytes of all its masters together; ``limit`` is 0 without one. ``forecast``: of claims, see there."""

    used: int
    limit: int
    forecast: Projection


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """How many ms a small question took."""

    kind: str
    answered_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it, as it was at a moment."""

    at: datetime
    arrivals: Part[Arrivals]
    flow: Part[Flow]
    backlog: Part[Backlog]
    workers: Part[Workers]
    held: Part[tuple[Held, ...]]
    dead: Part[tuple[Cause, ...]]
    rabbitmq: Part[RabbitMQ]
    redis: Part[Redis]
    database: Part[DatabaseState]
