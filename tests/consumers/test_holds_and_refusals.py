"""What holds an endpoint and what releases it; and our own mistakes, which are neither's business."""

import time
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import pytest

from claimbus.cli.demo.receivers import Behaviour
from consumers.lane import Lane
from consumers.worker import Worker
from tests.consumers.house import House
from tests.waiting import eventually

REFUSES = Behaviour(kind="status", status=422)
FAILS = Behaviour(kind="status", status=503)


async def test_refusals_count_towards_no_hold(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=REFUSES)
    await house.worker(hold_after=1)
    await house.publish(count=3)
    await eventually(lambda: house.letters(3))
    assert len(receiver.received) == 9, "three attempts at each"
    state = (await house.holds.state([endpoint.id]))[endpoint.id]
    assert (state.failures, state.held) == (0, False)


async def test_a_failed_attempt_counts_towards_a_hold_and_refusals_between_do_not(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "market.#", behaviour=FAILS, concurrency=1)
    await house.worker(hold_after=2, retry_ladder="1h")
    await house.publish()
    await eventually(lambda: house.attempts_when(endpoint, 1))
    await receiver.behave(REFUSES)
    await house.publish(count=3)
    await eventually(lambda: house.attempts_when(endpoint, 4))
    assert (await house.holds.state([endpoint.id]))[endpoint.id].failures == 1
    await receiver.behave(FAILS)
    await house.publish()
    await eventually(lambda: house.is_held(endpoint))


async def test_a_refused_probe_is_an_attempt_and_releases_nobody(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "market.#", behaviour=Behaviour(kind="down"))
    await house.worker(retry_ladder="1h")
    await house.publish(count=20)
    await eventually(lambda: house.is_held(endpoint))
    await receiver.behave(REFUSES)
    await eventually(lambda: len(receiver.received) >= 2)
    await eventually(lambda: house.pause_of(endpoint, at_least=1000))
    assert await house.is_held(endpoint)
    assert len({one.header("webhook-id") for one in receiver.received}) == len(receiver.received)
    refused = [one for one in await house.attempts(endpoint) if one.status == 422]
    assert {(one.verdict, one.attempt, one.next) for one in refused} == {("rejected", 1, "retry in 3600 s")}
    await receiver.behave()
    await eventually(lambda: house.is_open(endpoint))
    history = await eventually(lambda: house.hold_events(endpoint, 2))
    assert [event.what for event in history] == ["held", "released"]


async def test_a_mistake_of_ours_holds_up_one_delivery_alone_longer_each_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.setback.SHORTEST", 0.05)
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", concurrency=1)
    lane = lane_of(await house.worker())
    stumbling = house.event()
    with monkeypatch.context() as mistaken:
        tries = stumble(mistaken, lane, over=[stumbling.identity])
        await house.producer.publish(stumbling)
        sent = await house.publish(count=20)
        await eventually(lambda: {one.header("webhook-id") for one in receiver.received} == set(sent))
        await eventually(lambda: len(tries) == 4)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert all(pause >= 0.05 * 2**number for number, pause in enumerate(pauses))
    await eventually(lambda: len(receiver.received) == 21)
    assert receiver.received[-1].attempt == 1, "our mistakes are no attempts"
    assert await house.is_open(endpoint)


async def test_what_our_mistake_set_back_is_handed_back_when_the_worker_stops(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.setback.SHORTEST", 60.0)
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1")
    lane = lane_of(await house.worker())
    event = house.event()
    tries = stumble(monkeypatch, lane, over=[event.identity])
    await house.producer.publish(event)
    await eventually(lambda: tries)
    await house.stop_workers()
    await house.worker()
    await eventually(lambda: receiver.received)


def lane_of(worker: Worker) -> Lane:
    (lane,) = worker._roster.lanes
    return lane


def stumble(monkeypatch: pytest.MonkeyPatch, lane: Lane, *, over: Collection[str]) -> list[float]:
    """Have the lane's webhook raise over these events; give the moments at which it did."""
    tries: list[float] = []
    post = lane._webhook.post

    async def stumbling_post(*args: Any, message_id: str, **settings: Any) -> object:  # noqa: ANN401
        if message_id in over:
            tries.append(time.monotonic())
            raise RuntimeError("a mistake of ours")
        return await post(*args, message_id=message_id, **settings)

    monkeypatch.setattr(lane._webhook, "post", stumbling_post)
    return tries
