"""SIGKILL in the middle of a run: of workers, watchers, Redis, RabbitMQ. Nothing is lost.

Each test judges by the demo's own expectation and verdict.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimbus.cli.demo.scenario import Scenario, make_scenario
from claimbus.cli.services import RabbitNode, RedisServer
from tests.kills.play import Play, playing
from tests.kills.reports import write_report

SEED = 20260305
EARLY, LATER = (30, 500), (700, 1100)
"""After how many requests a worker is killed."""


@pytest.fixture
def chance() -> random.Random:
    return random.Random(SEED)


@pytest.fixture
def scenario(tmp_path: Path, chance: random.Random) -> Scenario:
    report = write_report(tmp_path / "report.csv", days=3, outages=1000, chance=chance)
    return make_scenario(report)


@pytest.fixture
async def play(
    scenario: Scenario, amqp_url: str, redis_url: str, key_prefix: str, tmp_path: Path
) -> AsyncIterator[Play]:
    """A run on the servers that all tests share."""
    async with playing(scenario, tmp_path, amqp_url, redis_url, key_prefix) as play:
        yield play


async def test_workers(play: Play, chance: random.Random) -> None:
    await play.start_worker("first")
    await play.start_worker("second")
    await play.run.until_consumed()
    publishing = asyncio.create_task(play.run.publish())
    for name, span in (("first", EARLY), ("second", LATER)):
        await play.requests(chance.randrange(*span))
        play.kill(name)
        await play.start_worker(name)
    await publishing
    await play.assert_whole()


async def test_watchers(play: Play, chance: random.Random, scenario: Scenario) -> None:
    """Each is killed while it publishes what changed; those after it carry through what is left, in order."""
    watch = [sys.executable, "-m", "claimbus", "oms", "watch", str(scenario.report)]
    watch += ["--every", "200ms", "--abandoned-after", "1s"]
    await play.start_worker("worker")
    for _ in range(3):
        await play.start("watcher", watch)
        await play.publishing(chance.randrange(1, 150))
        play.kill("watcher")
    await play.start("watcher", watch)
    await play.run.publish(outages=False)
    await play.assert_whole()


async def test_redis(
    scenario: Scenario, chance: random.Random, amqp_url: str, key_prefix: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        async with playing(scenario, tmp_path, amqp_url, redis.url, key_prefix) as play:
            await play.start_worker("worker")
            await play.run.until_consumed()
            publishing = asyncio.create_task(play.run.publish())
            for _ in range(2):
                await play.publishing(chance.randrange(1, 150))
                await asyncio.to_thread(redis.kill)
                await asyncio.sleep(chance.uniform(0, 2))
                await asyncio.to_thread(redis.start)
            await publishing
            await play.assert_whole()


async def test_rabbitmq(
    scenario: Scenario, chance: random.Random, redis_url: str, key_prefix: str, tmp_path: Path
) -> None:
    node = RabbitNode(tmp_path / "rabbitmq")
    try:
        await asyncio.to_thread(node.start)
        async with playing(scenario, tmp_path, node.amqp_url, redis_url, key_prefix) as play:
            # RabbitMQ 3.10.8 forgets a queue that was declared seconds before it is killed: its registers are
            # not on disk yet. An orderly restart writes them.
            await asyncio.to_thread(node.restart)
            await play.start_worker("worker")
            # Seconds pass meanwhile: RabbitMQ 3.10 has lost a stream for good, the first on the node, when
            # it was killed within one second after that was declared (Ra's directory is not synced at once).
            await play.run.until_consumed()
            publishing = asyncio.create_task(play.run.publish())
            await play.publishing(chance.randrange(1, 150))
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            await publishing
            await play.assert_whole()
    finally:
        await asyncio.to_thread(node.kill)
