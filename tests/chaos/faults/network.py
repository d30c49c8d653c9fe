"""The network between two processes: it delays, swallows, resets in the middle of a frame, falls silent."""

import asyncio
import random
import signal
from dataclasses import dataclass

from tests.chaos.fault import Fault, Inject, Part
from tests.chaos.house import House
from tests.chaos.servers import Link, by_link

DELAY = 0.3
DELAYED_FOR = 8.0
DROPS_FOR = 5.0
SILENT_FOR = 10.0
CUT_WITHIN = 30.0
"""Seconds, all of them."""
CUT_AFTER = 20_000
"""Bytes, at most, until a connection is cut: somewhere in a frame."""


async def delay(link: Link, house: House, chance: random.Random) -> None:
    link.delay(DELAY)
    await asyncio.sleep(DELAYED_FOR)


async def drop(link: Link, house: House, chance: random.Random) -> None:
    link.drop()
    await asyncio.sleep(DROPS_FOR)


async def cut(link: Link, house: House, chance: random.Random) -> None:
    link.cut(chance.randint(1, CUT_AFTER))
    await house.until(lambda: not link.injured, CUT_WITHIN, "nothing passes that could be cut")


async def half_open(link: Link, house: House, chance: random.Random) -> None:
    link.half_open()
    await asyncio.sleep(SILENT_FOR)


INJURIES = {
    "delayed": (delay, "0.3 s each way"),
    "dropped": (drop, "all swallowed for 5 s"),
    "cut": (cut, "reset in the middle of a frame"),
    "half-open": (half_open, "silent for 10 s"),
}


@dataclass(frozen=True)
class Pair:
    """Two that speak to each other past a link."""

    name: str
    what: str
    link: str
    parts: frozenset[Part] = frozenset()


PAIRS = (
    Pair("publisher-rabbitmq", "publisher and RabbitMQ", "publisher"),
    Pair("worker-rabbitmq", "workers and RabbitMQ", "amqp"),
    Pair("redis", "everybody and Redis", "redis"),
    Pair("receiver", "workers and a receiver", "receiver"),
    Pair("subscriber-portal", "subscriber and portal", "portal", frozenset({"stream"})),
)
SHORT = {"publisher-rabbitmq-cut", "worker-rabbitmq-half-open", "redis-dropped"}


def between(pair: Pair, injury: str) -> Inject:
    """Injure the link between two."""

    async def inject(house: House, chance: random.Random) -> None:
        await _separate_publisher(house)
        link = house.servers.links[pair.link]
        try:
            await INJURIES[injury][0](link, house, chance)
        finally:
            link.mend()

    return inject


async def _separate_publisher(house: House) -> None:
    """Have the publisher go to RabbitMQ by a link of its own, if it does not do so yet."""
    name = "CLAIMBUS_AMQP_URL"
    url = by_link(house.environment[name], house.servers.links["publisher"])
    if house.environment[name] != url:
        house.environment[name] = url
        house.processes.send("load", signal.SIGTERM)
        await house.ended("load")
        await house.start("load")


FAULTS = tuple(
    Fault(
        f"{pair.name}-{injury}",
        f"{pair.what}: {what}",
        between(pair, injury),
        "proxied",
        parts=pair.parts,
        short=f"{pair.name}-{injury}" in SHORT,
    )
    for pair in PAIRS
    for injury, (_, what) in INJURIES.items()
)
