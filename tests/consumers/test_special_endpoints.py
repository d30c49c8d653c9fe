"""Ordered and latest-only endpoints, claim mode, schema versions, rates, and large bodies."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from claimbus.cli.demo.receivers import Behaviour, Receiver
from claimbus.database.errors import DatabaseUnavailableError
from claimbus.events.event import Event
from consumers import lane
from tests.consumers.house import House
from tests.waiting import eventually

CHUNK = b"\xab" * (1 << 20)


def sequences(receiver: Receiver) -> list[int]:
    return [int(request.event["sequence"]) for request in receiver.received]


def statuses(house: House, *numbers: int, outage: str = "15120034") -> list[Event]:
    """Changes of one outage for AAA1."""
    return [
        replace(
            house.event("AAA1", type_="oms.resource-outage.changed"),
            id=f"{outage}-{number}",
            sequence=number,
            partitionkey=outage,
        )
        for number in numbers
    ]


async def test_an_ordered_endpoint_retries_in_place_and_keeps_the_order(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint(
        "AAA1", "oms.#", behaviour=Behaviour(kind="status", status=503, every=3), ordered=True
    )
    await house.worker(hold_after=100)
    for event in statuses(house, *range(1, 11)):
        await house.producer.publish(event)
    accepted = await eventually(lambda: accepted_when(receiver, 10))
    assert accepted == list(range(1, 11))
    attempts = await eventually(lambda: house.attempts_when(endpoint, len(receiver.received)))
    assert len(attempts) == len(receiver.received)


async def test_an_ordered_endpoint_goes_on_where_another_worker_stopped(house: House) -> None:
    house.participant("AAA1")
    await_503 = Behaviour(kind="status", status=503)
    _, receiver = await house.endpoint("AAA1", "oms.#", behaviour=await_503, ordered=True)
    await house.worker(hold_after=100)
    for event in statuses(house, 1, 2):
        await house.producer.publish(event)
    await eventually(lambda: len(receiver.received) == 1)
    await house.stop_workers()
    await receiver.behave()
    await house.worker(hold_after=100)
    await eventually(lambda: sequences(receiver)[1:] == [1, 2])
    assert [request.attempt for request in receiver.received] == [1, 2, 1]


async def test_an_ordered_delivery_that_waits_for_long_is_handed_back_once_in_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time counts for RabbitMQ's delivery limit; and its pause goes on where it was."""
    monkeypatch.setattr(lane, "UNACKED_AT_MOST", 1.0)
    house.participant("AAA1")
    await_503 = Behaviour(kind="status", status=503)
    _, receiver = await house.endpoint("AAA1", "oms.#", behaviour=await_503, ordered=True)
    worker = await house.worker(hold_after=100, retry_ladder="3s", reconcile_every=timedelta(milliseconds=50))
    [opened] = worker._roster.lanes
    await house.producer.publish(*statuses(house, 1))
    await eventually(lambda: len(receiver.received) == 1)
    await receiver.behave()
    with capture_logs() as logs:
        await eventually(lambda: len(receiver.received) == 2)
    handed_back = [line for line in logs if line.get("action") == "hand back"]
    assert 1 <= len(handed_back) <= 3
    assert all(line["count"] == 1 for line in handed_back)
    assert [request.attempt for request in receiver.received] == [1, 2]
    await eventually(lambda: not opened.unacked)


async def test_what_waits_for_long_is_handed_back_while_the_database_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "UNACKED_AT_MOST", 0.2)
    house.participant("AAA1")
    await_503 = Behaviour(kind="status", status=503)
    _, receiver = await house.endpoint("AAA1", "oms.#", behaviour=await_503, ordered=True)
    worker = await house.worker(
        hold_after=100, retry_ladder="60s", reconcile_every=timedelta(milliseconds=50)
    )

    async def away() -> None:
        raise DatabaseUnavailableError("as if nobody answered")

    monkeypatch.setattr(worker._roster, "reconcile", away)
    with capture_logs() as logs:
        await house.producer.publish(*statuses(house, 1))
        await eventually(lambda: receiver.received)
        await eventually(lambda: any(line.get("action") == "hand back" for line in logs))


async def test_workers_that_start_together_share_the_ordered_endpoints(house: House) -> None:
    for number in range(12):
        house.participant(f"AAA{number}")
        await house.endpoint(f"AAA{number}", ordered=True)
    workers = await asyncio.gather(house.worker(), house.worker())
    await eventually(lambda: house.active_on(workers), within=20)


async def test_a_latest_only_endpoint_skips_a_status_that_a_newer_one_replaced(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "oms.#", latest_only=True, concurrency=1)
    await house.worker()
    for event in statuses(house, 10, 9, 11):
        await house.producer.publish(event)
    await house.producer.publish(statuses(house, 1, outage="15120034")[0])
    attempts = await eventually(lambda: house.attempts_when(endpoint, 4))
    verdicts = {attempt.sequence: attempt.verdict for attempt in attempts}
    assert verdicts == {10: "delivered", 9: "superseded", 11: "delivered", 1: "superseded"}
    assert sequences(receiver) == [10, 11]


async def test_a_market_event_is_never_skipped(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1", latest_only=True, concurrency=1)
    await house.worker()
    for sequence in (2, 1):
        await house.producer.publish(replace(house.event(), sequence=sequence))
    await eventually(lambda: sequences(receiver) == [2, 1])


async def test_an_endpoint_in_claim_mode_gets_a_reference(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1", mode="claim")
    await house.worker()
    await house.publish()
    await eventually(lambda: receiver.received)
    assert receiver.received[0].event["dataref"].startswith("/v1/claims/")
    assert "data" not in json.loads(receiver.received[0].body or b"")


async def test_an_endpoint_gets_the_schema_version_that_it_chose(house: House) -> None:
    house.participant("AAA1")
    _, old = await house.endpoint("AAA1", "oms.#", schema_version=1)
    _, new = await house.endpoint("AAA1", "oms.#")
    await house.worker()
    await house.publish("AAA1", type_="oms.resource-outage.changed")
    await eventually(lambda: old.received and new.received)
    assert old.received[0].event["dataschema"].endswith(":1")
    assert old.received[0].header("sunset") is not None
    assert new.received[0].event["dataschema"].endswith(":2")
    assert new.received[0].header("sunset") is None


async def test_a_rate_is_kept(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", rate_limit=20.0)
    await house.worker()
    began = time.time()
    await house.publish(count=10)
    attempts = await eventually(lambda: house.attempts_when(endpoint, 10))
    last = max(attempt.started_ms for attempt in attempts) / 1000
    assert last >= began + 9 / 20, "the tenth at 20 a second cannot start earlier, however busy the machine"


async def test_a_large_body_arrives_whole(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1", timeout_s=30.0)
    await house.worker()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield CHUNK

    event = replace(house.event(), datacontenttype="application/octet-stream")
    await house.producer.publish_stream(event, body())
    await eventually(lambda: receiver.received, within=30)
    assert receiver.received[0].size == 16 << 20
    assert receiver.received[0].sha256 == hashlib.sha256(CHUNK * 16).hexdigest()
    assert receiver.received[0].verified


async def test_a_change_of_order_moves_the_queue_without_a_loss(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="slow", seconds=0.02))
    await house.worker(reconcile_every=timedelta(milliseconds=300))
    sent = await house.publish(count=50)
    await house.change(endpoint, ordered=True)
    sent += await house.publish(count=20)
    await eventually(lambda: {one.header("webhook-id") for one in receiver.received} == set(sent))
    await eventually(lambda: house.has_no_queue(endpoint))


async def test_workers_that_delete_an_older_queue_at_once_go_on(house: House) -> None:
    house.participant("AAA1")
    changed = [(await house.endpoint("AAA1"))[0] for _ in range(6)]
    workers = [await house.worker(reconcile_every=timedelta(hours=1)) for _ in range(3)]
    for endpoint in changed:
        await house.change(endpoint, ordered=True)

    async def are_gone() -> bool:
        await asyncio.gather(*(worker._roster.reconcile() for worker in workers))
        return all([await house.has_no_queue(endpoint) for endpoint in changed])

    await eventually(are_gone, within=60)


def accepted_when(receiver: Receiver, count: int) -> list[int] | None:
    """The sequences that were accepted, once there are so many."""
    accepted = [int(one.event["sequence"]) for one in receiver.received if one.answered == "204"]
    return accepted if len(accepted) >= count else None
