"""``/v1/overview``: whether everything is reaching everybody."""

from typing import Generic, TypeVar

from fastapi import APIRouter

from claimbus.portal.api.fields import Document, Moment
from claimbus.portal.desk import overview as desk
from claimbus.portal.services import Caller, Provided

T = TypeVar("T")

router = APIRouter(prefix="/v1/overview", tags=["overview"])


class Part(Document, Generic[T]):
    """A part, or `why` it is not there."""

    found: T | None
    why: str


class Arrivals(Document):
    """Events a second over `seconds`; ms from publishing to the receiver's answer."""

    events_rate: float | None
    seconds: float
    p50_ms: int | None
    p99_ms: int | None


class Flow(Document):
    """Deliveries and failed attempts a second, of the last minute; how long the receivers took, in ms."""

    deliveries_rate: float
    failures_rate: float
    p50_ms: int | None
    p99_ms: int | None


class Named(Document):
    """An endpoint, in brief."""

    id: str
    participant_id: str
    name: str


class Waiting(Document):
    """Tickets in an endpoint's queue, and how many consumers take from it."""

    endpoint: Named
    messages: int
    consumers: int


class Backlog(Document):
    """What waits for all endpoints, and the longest queues."""

    total: int
    longest: list[Waiting]


class Workers(Document):
    """How many webhooks are active, and those of them whose queue no worker takes from."""

    active: int
    unattended: list[Named]


class Held(Document):
    """An endpoint that is held."""

    endpoint: Named
    since: Moment
    why: str
    failures: int
    next_probe: Moment | None


class Cause(Document):
    """Dead letters with a cause, and how many of them came in the last hour."""

    cause: str
    count: int
    last_hour: int


class RabbitMQ(Document):
    """`blocked` says why it takes no messages; `unrecorded` dead letters are in no database yet."""

    version: str
    blocked: str
    unrecorded: int


class Forecast(Document):
    """Claims and their chunks: bytes now, and once they expire as fast as they come."""

    keys: int
    used: int
    expected: int


class Redis(Document):
    """Bytes; a `limit` of 0 is none."""

    used: int
    limit: int
    forecast: Forecast


class Database(Document):
    """Which it is, and how long a small question took, in ms."""

    kind: str
    answered_ms: float


class OverviewDocument(Document):
    """All of it, as it was at a moment, some seconds ago at most."""

    at: Moment
    arrivals: Part[Arrivals]
    flow: Part[Flow]
    backlog: Part[Backlog]
    workers: Part[Workers]
    held: Part[list[Held]]
    dead: Part[list[Cause]]
    rabbitmq: Part[RabbitMQ]
    redis: Part[Redis]
    database: Part[Database]


@router.get("")
async def get_overview(services: Provided, who: Caller) -> OverviewDocument:
    """Tell how everything is. For operators."""
    return OverviewDocument.model_validate(await desk.now(services, who))
