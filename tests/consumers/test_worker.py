"""The worker on real servers: what is published reaches whom it concerns, and nobody else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from claimbus.cli.demo.receivers import Behaviour, Receiver
from tests.consumers.house import House
from tests.waiting import eventually, never


def received(receiver: Receiver) -> list[str | None]:
    return [request.header("webhook-id") for request in receiver.received]


async def test_an_event_reaches_those_who_subscribed_and_are_entitled(house: House) -> None:
    for name in ("AAA1", "BBB1", "CCC1"):
        house.participant(name)
    _, everything = await house.endpoint("AAA1", "#")
    _, own = await house.endpoint("BBB1", "market.#")
    _, other = await house.endpoint("CCC1", "oms.#")
    await house.worker()
    (for_all,) = await house.publish()
    (for_two,) = await house.publish("AAA1", "BBB1")
    (for_one,) = await house.publish("BBB1")
    await eventually(lambda: set(received(own)) == {for_all, for_two, for_one})
    await eventually(lambda: set(received(everything)) == {for_all, for_two})
    assert received(other) == []


async def test_a_further_connection_is_opened_when_one_has_no_channels_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.broker.connections.CHANNELS", 4)
    receivers = []
    for number in range(9):
        house.participant(f"AAA{number}")
        receivers.append((await house.endpoint(f"AAA{number}"))[1])
    worker = await house.worker()
    (sent,) = await house.publish()
    await eventually(lambda: all(received(one) == [sent] for one in receivers))
    assert len(worker._connections._further) >= 2
    assert worker._services.consuming.channels <= 4 + len(worker._connections._further)


async def test_an_attempt_is_recorded(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.worker()
    (message_id,) = await house.publish()
    (attempt,) = await eventually(lambda: house.attempts(endpoint))
    assert (attempt.message_id, attempt.verdict, attempt.attempt, attempt.next) == (
        message_id,
        "delivered",
        1,
        "ack",
    )


async def test_what_a_worker_did_is_counted(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1")
    worker = await house.worker()
    await house.publish(count=3)
    await eventually(lambda: len(receiver.received) == 3)

    def counted(name: str, **labels: str) -> float | None:
        return worker._metrics.registry.get_sample_value(f"claimbus_{name}", labels)

    await eventually(lambda: counted("attempts_total", verdict="delivered") == 3)
    assert counted("delivery_seconds_count") == 3
    assert counted("redeems", **{"from": "redis"}) == 3
    assert counted("lanes") == 1
    assert counted("held_endpoints") == 0


async def test_a_failed_attempt_climbs_the_ladder(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=503))
    await house.worker(hold_after=100)
    (message_id,) = await house.publish()
    await eventually(lambda: len(receiver.received) == 2)
    await receiver.behave()
    await eventually(lambda: len(receiver.received) == 3)
    assert [request.attempt for request in receiver.received] == [1, 2, 3]
    assert set(received(receiver)) == {message_id}
    recorded = await eventually(lambda: house.attempts_when(endpoint, 3))
    assert [one.verdict for one in recorded] == ["failed", "failed", "delivered"]
    assert [one.next for one in recorded] == ["retry in 0.3 s", "retry in 0.6 s", "ack"]


async def test_a_failing_endpoint_is_held_and_released_by_a_probe(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "market.#", behaviour=Behaviour(kind="down"))
    await house.worker()
    sent = await house.publish(count=20)
    await eventually(lambda: house.is_held(endpoint))
    tried = len(await house.attempts(endpoint))
    assert tried < 20, "the queue keeps what a hold leaves untried"
    await receiver.behave()
    await eventually(lambda: set(received(receiver)) == set(sent))
    await eventually(lambda: house.is_open(endpoint))
    history = await eventually(lambda: house.hold_events(endpoint, 2))
    assert [event.what for event in history] == ["held", "released"]


async def test_a_probe_that_cannot_connect_does_not_count(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "market.#", behaviour=Behaviour(kind="down"))
    worker = await house.worker()

    def counted() -> float | None:
        labels = {"verdict": "failed"}
        return worker._metrics.registry.get_sample_value("claimbus_attempts_total", labels)

    sent = await house.publish(count=10)
    await eventually(lambda: house.pause_of(endpoint, at_least=600))  # a probe failed
    before = counted()
    await eventually(lambda: house.pause_of(endpoint, at_least=1000))  # another
    assert counted() == before
    await receiver.behave()
    await eventually(lambda: set(received(receiver)) == set(sent))
    assert max(request.attempt for request in receiver.received) == 2


async def test_one_endpoint_never_hurts_another(house: House) -> None:
    for name in ("AAA1", "BBB1", "CCC1", "DDD1"):
        house.participant(name)
    _, well = await house.endpoint("AAA1", "market.#")
    await house.endpoint("BBB1", "market.#", behaviour=Behaviour(kind="hang"))
    await house.endpoint("CCC1", "market.#", behaviour=Behaviour(kind="down"))
    await house.endpoint("DDD1", "market.#", behaviour=Behaviour(kind="status", status=500))
    await house.worker()
    sent = await house.publish(count=200)
    await eventually(lambda: set(received(well)) == set(sent))


async def test_a_refused_event_becomes_a_dead_letter_after_three_attempts(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=422))
    await house.worker()
    (message_id,) = await house.publish()
    (letter,) = await eventually(lambda: house.letters(1))
    assert (letter.endpoint, letter.cause, letter.attempts) == (endpoint.id, "rejected", 3)
    assert letter.ticket is not None
    assert letter.ticket.message_id == message_id
    assert len(receiver.received) == 3


async def test_an_endpoint_that_is_gone_is_disabled_and_its_queue_kept(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=410))
    await house.worker()
    await house.publish(count=3)
    await eventually(lambda: house.state_of(endpoint) == "disabled")
    await receiver.behave()
    await house.enable(endpoint)
    await eventually(lambda: len({*received(receiver)}) >= 3)


async def test_a_claim_that_is_missing_is_a_dead_letter(house: House) -> None:
    house.participant("AAA1")
    await house.endpoint("AAA1")
    await house.publish()
    await house.delete_claims()
    await house.worker()
    (letter,) = await eventually(lambda: house.letters(1))
    assert letter.cause == "missing"


async def test_who_is_not_in_the_audience_gets_nothing_even_from_its_own_queue(house: House) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    endpoint, receiver = await house.endpoint("AAA1")
    event = house.event("BBB1")
    checked_in = await house.store.check_in(event)
    ticket = house.ticket(event, checked_in)
    await house.publisher.publish_redelivery(replace(ticket, endpoint=endpoint.id))
    await house.worker()
    (letter,) = await eventually(lambda: house.letters(1))
    assert letter.cause == "not entitled"
    assert receiver.received == []


async def test_an_undecodable_ticket_becomes_a_dead_letter_with_its_bytes(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish_raw(endpoint, b"\xff no ticket")
    await house.worker()
    (letter,) = await eventually(lambda: house.letters(1))
    assert (letter.cause, letter.body, letter.endpoint) == ("undecodable", b"\xff no ticket", endpoint.id)


async def test_a_change_is_picked_up_without_a_restart(house: House) -> None:
    house.participant("AAA1")
    await house.worker(reconcile_every=timedelta(hours=1))
    endpoint, receiver = await house.endpoint("AAA1", provisioned=False)
    await house.publisher.announce(endpoint.id, "changed")
    await eventually(lambda: house.bound(endpoint))
    (message_id,) = await house.publish()
    await eventually(lambda: received(receiver) == [message_id])


async def test_a_removed_endpoint_leaves_dead_letters_and_no_queue(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", behaviour=Behaviour(kind="down"))
    await house.worker(reconcile_every=timedelta(hours=1))
    await house.publish(count=10)
    await eventually(lambda: house.is_held(endpoint))
    await house.remove(endpoint)
    letters = await eventually(lambda: house.letters(10), within=20)
    assert {letter.cause for letter in letters} <= {"endpoint-gone", "attempts exhausted"}
    await eventually(lambda: house.has_no_queue(endpoint))


async def test_stopping_finishes_what_is_in_flight_and_hands_the_rest_back(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint(
        "AAA1", behaviour=Behaviour(kind="slow", seconds=0.2), concurrency=2
    )
    await house.worker()
    sent = await house.publish(count=40)
    await eventually(lambda: len(receiver.received) >= 4)
    await house.stop_workers()
    assert len(await house.attempts(endpoint)) == len(receiver.received), "none was left unrecorded"
    before = len(receiver.received)
    await receiver.behave()
    await house.worker()
    await eventually(lambda: len(receiver.received) == 40)
    assert set(received(receiver)) == set(sent)
    assert before < 40


async def test_without_the_database_no_attempt_is_made(house: House) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    first, at_first = await house.endpoint("AAA1")
    second, at_second = await house.endpoint("BBB1")
    worker = await house.worker(database_timeout=timedelta(milliseconds=200))
    with house.locked_database():
        await house.publish("AAA1")
        await eventually(lambda: not worker._recorder.available)
        await house.publish("BBB1")
        await eventually(lambda: sum(lane.unacked for lane in worker._roster.lanes) == 2)
        await never(lambda: at_second.received)
    await eventually(lambda: house.attempts_when(first, 1))
    await eventually(lambda: house.attempts_when(second, 1))
    assert (len(at_first.received), len(at_second.received)) == (1, 1)


async def test_a_slow_endpoint_gets_as_many_requests_at_once_as_it_allows(house: House) -> None:
    house.participant("AAA1")
    _, receiver = await house.endpoint(
        "AAA1", behaviour=Behaviour(kind="hang"), concurrency=4, timeout_s=60.0
    )
    await house.worker()
    for expected in (1, 2, 3, 4):  # one by one, so that each meets the others under way
        await house.publish()
        await eventually(lambda expected=expected: receiver.connections == expected)  # type: ignore[misc]
    await house.publish()
    await never(lambda: receiver.connections > 4)
