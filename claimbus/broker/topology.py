"""Every exchange, queue, binding and argument on RabbitMQ. Nothing else spells a name.

Why each is as it is stands in docs/architecture.md, under "RabbitMQ names". What an argument says cannot be
changed on a queue that exists, so names carry what may differ (a rung's delay, an endpoint's generation), and
the rest is constant.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from claimbus.broker.channel import Channel, QueueCounts
from claimbus.broker.connection import Connection
from claimbus.broker.errors import JournalLifeError, TopologyError
from claimbus.events.errors import ConfigurationError
from claimbus.events.routing import DOMAINS, Binding

DEADLETTERS: Final = "deadletters"
REDELIVER: Final = "redeliver"
CONTROL: Final = "control"
JOURNAL: Final = "journal"

ENDPOINT_TTL: Final = timedelta(days=30)
"""The net under an endpoint's queue; workers judge the age of a delivery themselves, and sooner."""

_ENDPOINT_DELIVERY_LIMIT: Final = 1_000
_OTHER_DELIVERY_LIMIT: Final = 1_000_000
_MAX_DELAY: Final = timedelta(milliseconds=2**32 - 1)
"""RabbitMQ's greatest ``x-message-ttl``."""

_DELAY = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)")
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_ENDPOINT_QUEUE = re.compile(r"endpoint\.(.+)\.[0-9]+")
_OTHER_LIFE = re.compile(r"'x-max-age' .* in vhost '(.*)': received .*'(\d+s)'.* but current .*'(\d+s)'")


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the retry ladder: how long a delivery waits before it comes back to its endpoint."""

    name: str
    delay: timedelta

    @property
    def queue(self) -> str:
        """Return the name of its queue, which its exchange has too."""
        return f"retry.{self.name}"


def parse_ladder(text: str) -> tuple[Rung, ...]:
    """Read ``5s,30s,2m,10m,1h,6h``: whole numbers of ms, s, m, h or d, each longer than the one before.

    Raises ConfigurationError for ``retry_ladder``.
    """
    rungs: list[Rung] = []
    for name in (part.strip() for part in text.split(",")):
        found = _DELAY.fullmatch(name)
        if found is None:
            raise ConfigurationError("retry_ladder", f"{name!r} is no delay like 5s, 2m or 6h")
        delay = int(found[1]) * _UNITS[found[2]]
        if delay > _MAX_DELAY:
            raise ConfigurationError("retry_ladder", f"{name} is longer than RabbitMQ's limit of 49 days")
        if rungs and delay <= rungs[-1].delay:
            raise ConfigurationError("retry_ladder", f"{name} is not longer than {rungs[-1].name} before it")
        rungs.append(Rung(name, delay))
    return tuple(rungs)


DEFAULT_LADDER: Final = parse_ladder("5s,30s,2m,10m,1h,6h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What may differ between installations.

    ``claim_life`` is how long the journal keeps tickets, at least: only whole segments of
    ``journal_segment_bytes`` go, once they are closed.
    """

    ladder: tuple[Rung, ...] = DEFAULT_LADDER
    claim_life: timedelta = timedelta(days=7)
    journal_segment_bytes: int = 8_000_000


async def declare(channel: Channel, topology: Topology) -> None:
    """Declare everything but endpoints; what is there already stays as it is.

    Dead letters come first, so that nothing is ever dead-lettered into the void. Raises TopologyError, naming
    the queue, when one exists with other arguments; JournalLifeError says what to do about it.
    """
    await channel.declare_exchange(DEADLETTERS, "fanout")
    await channel.declare_queue(DEADLETTERS, _quorum(_OTHER_DELIVERY_LIMIT))
    await channel.bind(DEADLETTERS, DEADLETTERS)
    await channel.declare_exchange(REDELIVER, "direct", {"alternate-exchange": DEADLETTERS})
    for rung in topology.ladder:
        await channel.declare_exchange(rung.queue, "fanout")
        await channel.declare_queue(
            rung.queue, _quorum(_OTHER_DELIVERY_LIMIT) | _dead_letters_to(REDELIVER) | _ttl(rung.delay)
        )
        await channel.bind(rung.queue, rung.queue)
    for domain in DOMAINS:
        await channel.declare_exchange(domain, "topic")
    await declare_journal(channel, topology)
    for domain in DOMAINS:
        await channel.bind(JOURNAL, domain, "#")
    await channel.declare_exchange(CONTROL, "fanout")


async def declare_journal(channel: Channel, topology: Topology) -> None:
    """Declare the journal alone. Raises JournalLifeError when there is one for another claim life."""
    arguments = {
        "x-queue-type": "stream",
        "x-max-age": f"{topology.claim_life // timedelta(seconds=1)}s",
        "x-stream-max-segment-size-bytes": topology.journal_segment_bytes,
    }
    try:
        await channel.declare_queue(JOURNAL, arguments)
    except TopologyError as refused:
        if differs := _OTHER_LIFE.search(str(refused)):
            raise JournalLifeError(differs[1], wanted=differs[2], keeps=differs[3]) from refused
        raise


def endpoint_queue(endpoint_id: str, generation: int) -> str:
    """Return the name of an endpoint's queue. A change of ``ordered`` needs a new generation."""
    return f"endpoint.{endpoint_id}.{generation}"


def endpoint_of(queue: str) -> str | None:
    """Return whose queue this is; None when it is no endpoint's."""
    found = _ENDPOINT_QUEUE.fullmatch(queue)
    return found and found[1]


async def declare_endpoint(channel: Channel, endpoint_id: str, generation: int, *, ordered: bool) -> str:
    """Declare an endpoint's queue and return its name; ``ordered``: one consumer at a time has deliveries.

    Raises TopologyError when this generation exists with the other order.
    """
    queue = endpoint_queue(endpoint_id, generation)
    arguments = _quorum(_ENDPOINT_DELIVERY_LIMIT) | _dead_letters_to(DEADLETTERS) | _ttl(ENDPOINT_TTL)
    if ordered:
        arguments["x-single-active-consumer"] = True
    await channel.declare_queue(queue, arguments)
    return queue


async def bind_endpoint(channel: Channel, queue: str, endpoint_id: str, bindings: Iterable[Binding]) -> None:
    """Let an endpoint's queue have what it is subscribed to, and its retries, replays and recoveries."""
    await channel.bind(queue, REDELIVER, endpoint_id)
    for binding in bindings:
        await channel.bind(queue, binding.exchange, binding.key)


async def unbind_endpoint(
    channel: Channel, queue: str, endpoint_id: str, bindings: Iterable[Binding]
) -> None:
    """Let nothing more into an endpoint's queue; its retries become dead letters from now on.

    The caller knows the bindings; RabbitMQ lists none over AMQP. It works while the queue hangs, too.
    """
    for binding in bindings:
        await channel.unbind(queue, binding.exchange, binding.key)
    await channel.unbind(queue, REDELIVER, endpoint_id)


async def message_counts(connection: Connection, queues: Iterable[str]) -> dict[str, QueueCounts | None]:
    """Return each queue's ready messages and consumers; None for one that does not exist.

    A queue that hangs is given as empty: see `claimbus.broker.quarantine.answers`.
    """
    counts: dict[str, QueueCounts | None] = {}
    channel = await connection.channel()
    for queue in queues:
        try:
            counts[queue] = await channel.count(queue)
        except TopologyError:
            counts[queue] = None
            channel = await connection.channel()
    await channel.close()
    return counts


def _quorum(delivery_limit: int) -> dict[str, object]:
    # -1 means "no limit" on 4.0, but drops a message at its first requeue on 3.10; none means 20 on 4.0.
    return {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": delivery_limit}


def _dead_letters_to(exchange: str) -> dict[str, object]:
    # At most once lost 5 of 5 letters while a route was missing for a moment.
    return {"x-dead-letter-exchange": exchange, "x-dead-letter-strategy": "at-least-once"}


def _ttl(delay: timedelta) -> dict[str, object]:
    return {"x-message-ttl": delay // timedelta(milliseconds=1)}
