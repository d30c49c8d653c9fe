"""SIGKILL in the middle of a replay: nothing is lost, and only what was unsure is sent twice."""

import asyncio
import signal
import sys
from collections import Counter

import pytest

from claimbus.cli.demo.receivers import Receiver
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Replay
from tests.consumers.house import House
from tests.deadletters.replaying import BATCH, WINDOW
from tests.deadletters.stage import Stage
from tests.waiting import eventually

COUNT = 250


@pytest.fixture
def stage(house: House) -> Stage:
    house.participant("AAA1")
    return Stage(house.database, house.store, house.holds, house)


async def kill(stage: Stage, point: str) -> None:
    """Let a runner of its own process run until it is killed at a point."""
    settings = stage.house.wiring.settings
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.deadletters.replaying", point),
        *(settings.amqp_url, settings.redis_url, settings.key_prefix, settings.database_url),
    )
    assert await killed.wait() == -signal.SIGKILL


async def buried(stage: Stage) -> tuple[Endpoint, Receiver, list[DeadLetter], Replay]:
    endpoint, receiver = await stage.house.endpoint("AAA1")
    found = await stage.bury(endpoint, count=COUNT)
    return endpoint, receiver, found, await stage.replay(found)


@pytest.mark.parametrize(
    ("point", "arrived", "marked"),
    [
        ("before the publish", BATCH, BATCH),
        ("amid the publish", BATCH + BATCH // 2 - WINDOW, BATCH),
        ("before the mark", BATCH, 0),
    ],
)
async def test_a_runner_killed_at_any_point_loses_nothing(
    stage: Stage, point: str, arrived: int, marked: int
) -> None:
    endpoint, receiver, found, job = await buried(stage)
    await kill(stage, point)
    before = [one.message_id for one in await stage.queued(endpoint, at_least=arrived) or ()]
    progress = stage.progress(job)
    assert (progress.sent, progress.sending, len(before)) == (marked, BATCH, len(set(before)))
    async with stage.running("another"):
        await eventually(lambda: stage.is_in(job, "sent"))
        await stage.house.worker()
        await eventually(lambda: stage.is_in(job, "done"))
    received = Counter(one.header("webhook-id") for one in receiver.received)
    assert received.keys() == {letter.message_id for letter in found}
    assert received.total() == COUNT + len(before) - marked
    assert await stage.states(found) == ["delivered"] * COUNT


async def test_what_was_delivered_before_the_kill_is_not_sent_again(stage: Stage) -> None:
    """Although it was not marked as sent: the attempts tell."""
    _, receiver, found, job = await buried(stage)
    await stage.house.worker()
    await kill(stage, "before the mark")
    await eventually(lambda: stage.progress(job).delivered == BATCH)
    async with stage.running("another"):
        await eventually(lambda: stage.is_in(job, "done"))
    received = Counter(one.header("webhook-id") for one in receiver.received)
    assert received == Counter(letter.message_id for letter in found)
