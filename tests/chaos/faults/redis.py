"""Redis: killed, stopped, full, slow; a failover with Sentinel; a master of a Cluster killed."""

import asyncio
import random
import time

from tests.chaos.fault import Fault
from tests.chaos.house import House
from tests.chaos.servers import Redis

AWAY_FOR = (0.0, 2.0)
AWAY_UNTIL_REPLACED = (4.0, 7.0)
"""Longer than a failover takes: a second's silence, and the election."""
FULL_FOR = (2.0, 5.0)
SLOW_FOR = 8.0
STOPPED_FOR = 10.0
"""Seconds, all of them."""

PAUSE = 250
"""Milliseconds for which a slow server answers nobody, again and again."""
ROOM = 20_000
"""Bytes that a full one has left."""


async def killed(house: House, chance: random.Random) -> None:
    [redis] = house.servers.redis
    await _down(redis, chance, AWAY_FOR)


async def stopped(house: House, chance: random.Random) -> None:
    [redis] = house.servers.redis
    redis.pause()
    await asyncio.sleep(STOPPED_FOR)
    redis.resume()


async def full(house: House, chance: random.Random) -> None:
    """Let there be no room for what is checked in: every write is refused with OOM."""
    [redis] = house.servers.redis
    used = (await asyncio.to_thread(redis.command, "INFO", "memory")).partition("used_memory:")[2]
    await _tell(redis, "CONFIG", "SET", "maxmemory", int(used.partition("\r\n")[0]) + ROOM)
    await asyncio.sleep(chance.uniform(*FULL_FOR))
    await _tell(redis, "CONFIG", "SET", "maxmemory", 0)


async def slow(house: House, chance: random.Random) -> None:
    """Have everything wait a quarter of a second, again and again."""
    [redis] = house.servers.redis
    until = time.monotonic() + SLOW_FOR
    while time.monotonic() < until:
        await _tell(redis, "CLIENT", "PAUSE", PAUSE, "ALL")  # it waits for the pause before it


async def master_killed(house: House, chance: random.Random) -> None:
    """Kill one that takes writes, and start it when another has its place: it becomes a replica."""
    masters = [redis for redis in house.servers.redis if await _role(redis) == "master"]
    await _down(chance.choice(masters), chance, AWAY_UNTIL_REPLACED)


async def master_stopped(house: House, chance: random.Random) -> None:
    """Stop one that takes writes until another has its place: it still takes itself for the master."""
    masters = [redis for redis in house.servers.redis if await _role(redis) == "master"]
    master = chance.choice(masters)
    master.pause()
    await asyncio.sleep(chance.uniform(*AWAY_UNTIL_REPLACED))
    master.resume()


async def _down(redis: Redis, chance: random.Random, seconds: tuple[float, float]) -> None:
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(chance.uniform(*seconds))
    await asyncio.to_thread(redis.start)


async def _role(redis: Redis) -> str:
    return str((await asyncio.to_thread(redis.command, "ROLE"))[0])


async def _tell(redis: Redis, *words: str | int) -> None:
    await asyncio.to_thread(redis.command, *words)


FAULTS = (
    Fault("redis-killed", "Redis alone, SIGKILL; its AOF is read again", killed, short=True),
    Fault("redis-stopped", "Redis alone, SIGSTOP for 10 s", stopped),
    Fault("redis-full", "Redis has no room: every check-in is refused", full, short=True),
    Fault("redis-slow", "Redis answers every 0.25 s only", slow),
    Fault("sentinel-killed", "the master under Sentinel, SIGKILL: a failover", master_killed, "sentinel"),
    Fault("sentinel-stopped", "the master under Sentinel, SIGSTOP", master_stopped, "sentinel"),
    Fault("cluster-killed", "a master of a Redis Cluster, SIGKILL", master_killed, "redis-cluster"),
    Fault("cluster-stopped", "a master of a Redis Cluster, SIGSTOP", master_stopped, "redis-cluster"),
)
