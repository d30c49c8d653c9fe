"""SIGKILL in the middle of a run: of a worker, the watcher, Redis, RabbitMQ. Nothing is lost."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimbus.cli.demo.scenario import make_scenario
from claimbus.cli.services import RabbitNode, RedisServer
from tests.kills.play import Play, assert_whole, playing
from tests.kills.reports import write_report

DAYS = 3
SEED = 20260305
LONG = pytest.mark.timeout(180)


@pytest.fixture
async def play(amqp_url: str, redis_url: str, key_prefix: str, tmp_path: Path) -> AsyncIterator[Play]:
    """A run on the servers that all tests share."""
    scenario = make_scenario(days=DAYS)
    async with playing(
        scenario, tmp_path, amqp_url=amqp_url, redis_url=redis_url, key_prefix=key_prefix
    ) as play:
        yield play


async def test_killed_workers(play: Play) -> None:
    chance = random.Random(SEED)
    await play.start_worker("first")
    await play.start_worker("second")
    publishing = asyncio.create_task(play.performance.publish())
    for name, moment in (("first", chance.randrange(10, 150)), ("second", chance.randrange(200, 400))):
        await play.requests(moment)
        play.kill(name)
        await play.start_worker(name)
    await publishing
    assert_whole(await play.verdict())


async def test_killed_redis(amqp_url: str, key_prefix: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with RedisServer(tmp_path / "redis") as redis:
        async with playing(
            make_scenario(days=DAYS), tmp_path, amqp_url=amqp_url, redis_url=redis.url, key_prefix=key_prefix
        ) as play:
            await play.start_worker("worker")
            publishing = asyncio.create_task(play.performance.publish())
            for moment in (chance.randrange(10, 150), chance.randrange(200, 400)):
                await play.requests(moment)
                await asyncio.to_thread(redis.kill)
                await asyncio.sleep(chance.uniform(0, 2))
                await asyncio.to_thread(redis.start)
            await publishing
            assert_whole(await play.verdict())


@LONG
async def test_killed_rabbitmq(redis_url: str, key_prefix: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    node = RabbitNode(tmp_path / "rabbitmq")
    try:
        await asyncio.to_thread(node.start)
        async with playing(
            make_scenario(days=DAYS),
            tmp_path,
            amqp_url=node.amqp_url,
            redis_url=redis_url,
            key_prefix=key_prefix,
        ) as play:
            await play.start_worker("worker")
            publishing = asyncio.create_task(play.performance.publish())
            await play.requests(chance.randrange(10, 300))
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            await publishing
            assert_whole(await play.verdict())
    finally:
        await asyncio.to_thread(node.kill)


async def test_killed_watchers(amqp_url: str, redis_url: str, key_prefix: str, tmp_path: Path) -> None:
    """Each is killed while it publishes a snapshot; the last one carries through what they left."""
    chance = random.Random(SEED)
    report = write_report(tmp_path / "report.csv", days=DAYS, outages=1500, chance=chance)
    scenario = make_scenario(report)
    async with playing(
        scenario, tmp_path, amqp_url=amqp_url, redis_url=redis_url, key_prefix=key_prefix
    ) as play:
        await play.start_worker("worker")
        watch = [sys.executable, "-m", "claimbus", "oms", "watch", str(report)]
        watch += ["--every", "200ms", "--abandoned-after", "1s"]
        left = []
        for moment in sorted(chance.sample(range(2000), 4)):
            await play.start("watcher", watch)
            await play.requests(moment)
            play.kill("watcher")
            left.append(await play.pending())
        assert any(left), "all were killed between two snapshots"
        await play.start("watcher", watch)
        await play.performance.publish(outages=False)
        assert_whole(await play.verdict())
