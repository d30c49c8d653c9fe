"""The worker on real servers: what is published reaches whom it concerns, and nobody else."""

from claimbus.cli.demo.receivers import Behaviour, Receiver
from tests.consumers.house import House
from tests.waiting import eventually


def received(receiver: Receiver) -> list[str | None]:
    return [request.arrival.webhook_id for request in receiver.received]


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
