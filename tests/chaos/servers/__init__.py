"""The servers of a run, of each kind: all private, all gone at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from tests.chaos.fault import NotRunError
from tests.chaos.servers import trixie
from tests.chaos.servers.link import Link
from tests.chaos.servers.rabbit import SENT_AGAIN_MS, Rabbit, open_cluster, start
from tests.chaos.servers.redis import Alone, Redis, open_redis_cluster, open_sentinel

__all__ = ["KINDS", "Link", "Rabbit", "Redis", "Servers", "by_link", "open_servers", "start"]

KINDS: Final = (
    "plain",
    "proxied",
    "rabbitmq-cluster",
    "rabbitmq-cluster-default",
    "rabbitmq-4",
    "sentinel",
    "redis-cluster",
    "redis-8",
)
TRIXIE: Final = Path(__file__).parents[3] / ".claimbus" / "trixie"
"""Debian 13, unpacked; kept for the next run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where clients connect, what faults act on, and the links that lead there when the kind is ``proxied``.

    Of the links, ``amqp`` and ``redis`` are in the URLs here, ``publisher`` is another way to RabbitMQ, and
    ``receiver`` and ``portal`` lead where the house lets them.
    """

    kind: str
    amqp_url: str
    """Without a vhost; several nodes as the product takes them."""
    redis_url: str
    management_url: str
    rabbit: Sequence[Rabbit]
    redis: Sequence[Redis]
    links: Mapping[str, Link] = field(default_factory=dict)

    def vhost_url(self, vhost: str) -> str:
        """The AMQP URL of a vhost."""
        return self.amqp_url + quote(vhost, safe="")


@asynccontextmanager
async def open_servers(
    kind: str, directory: Path, report: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Servers]:
    """Start the servers of a kind, their data in an empty directory; everything ends with the block.

    ``report`` is told what takes long. Raises NotRunError for what this machine cannot do, and ServicesError
    when a server does not start.
    """
    async with AsyncExitStack() as stack:
        running = ExitStack()
        stack.push_async_callback(asyncio.to_thread, running.close)
        servers = await asyncio.to_thread(_start, kind, directory, running, report)
        yield await _by_links(servers, stack) if kind == "proxied" else servers


def _start(kind: str, directory: Path, running: ExitStack, report: Callable[[str], None]) -> Servers:
    rabbitmq_program = redis_program = None
    if kind in ("rabbitmq-4", "redis-8"):
        if obstacle := trixie.obstacle():
            raise NotRunError(obstacle)
        trixie.unpack(TRIXIE, report)
        if kind == "rabbitmq-4":
            rabbitmq_program = trixie.entrances(TRIXIE, directory, trixie.RABBITMQ)
        else:
            redis_program = trixie.entrances(TRIXIE, directory, trixie.REDIS)
    report(f"starting the servers of {kind}")
    redis: Sequence[Redis]
    if kind == "sentinel":
        redis_url, redis = open_sentinel(directory / "redis", running)
    elif kind == "redis-cluster":
        redis_url, redis = open_redis_cluster(directory / "redis", running)
    else:
        alone = running.enter_context(Alone(directory / "redis", program=redis_program))
        redis_url, redis = alone.url, [alone]
    if kind == "rabbitmq-cluster":
        nodes = open_cluster(directory, running, sent_again_ms=SENT_AGAIN_MS)
    elif kind == "rabbitmq-cluster-default":
        nodes = open_cluster(directory, running)
    else:
        nodes = [running.enter_context(Rabbit(directory / "rabbitmq", program=rabbitmq_program))]
    return Servers(
        kind=kind,
        amqp_url=_of_all(nodes),
        redis_url=redis_url,
        management_url=nodes[0].management_url,
        rabbit=nodes,
        redis=redis,
    )


async def _by_links(servers: Servers, stack: AsyncExitStack) -> Servers:
    """Put links before plain servers."""
    amqp, publisher, redis, receiver, portal = [
        await stack.enter_async_context(Link.open(to))
        for to in (*[_place(servers.amqp_url)] * 2, _place(servers.redis_url), None, None)
    ]
    return replace(
        servers,
        amqp_url=by_link(servers.amqp_url, amqp),
        redis_url=by_link(servers.redis_url, redis),
        links={"amqp": amqp, "publisher": publisher, "redis": redis, "receiver": receiver, "portal": portal},
    )


def by_link(url: str, link: Link) -> str:
    """The URL by which a client gets to the same server past a link."""
    parts = urlsplit(url)
    credentials = "".join(parts.netloc.rpartition("@")[:2])
    return urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{link.port}"))


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def _of_all(nodes: Sequence[Rabbit]) -> str:
    """The URL of a cluster, as the product takes it."""
    first, *others = (urlsplit(node.amqp_url) for node in nodes)
    places = [first.netloc, *(f"{one.hostname}:{one.port}" for one in others)]
    return urlunsplit(first._replace(netloc=",".join(places)))
