"""The topology on RabbitMQ itself."""

import asyncio
import re
import shlex
from dataclasses import replace
from datetime import timedelta

import pytest

from claimbus.broker import topology
from claimbus.broker.codec import ENDPOINT_GONE, Letter
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.errors import JournalLifeError, TopologyError, UnroutableError
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import parse_ladder
from claimbus.events.errors import ConfigurationError
from tests.broker.conftest import TOPOLOGY, declared
from tests.broker.nodes import Node
from tests.broker.samples import consuming, declare_endpoint, only, ticket, to
from tests.services import management
from tests.waiting import eventually


def test_a_ladder_is_read_from_its_setting() -> None:
    rungs = parse_ladder("250ms, 5s,2m,6h,1d")
    assert [rung.queue for rung in rungs] == ["retry.250ms", "retry.5s", "retry.2m", "retry.6h", "retry.1d"]
    assert rungs[3].delay == timedelta(hours=6)


@pytest.mark.parametrize("text", ["", "5", "5s,", "0s", "5s,5s", "60s,1m", "2m,5s", "50d", "5 s", "-5s"])
def test_a_wrong_ladder_names_its_setting(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_ladder(text)
    assert refused.value.field == "retry_ladder"


async def test_declaring_twice_changes_nothing(connection: Connection) -> None:
    async with await connection.channel() as channel:
        await topology.declare(channel, TOPOLOGY)
        for _ in range(2):
            queue = await topology.declare_endpoint(channel, "e1", 1, ordered=True)
            await topology.bind_endpoint(channel, queue, "e1", ())
        assert queue == "endpoint.e1.1"


async def test_a_queue_with_other_arguments_is_named(connection: Connection) -> None:
    channel = await connection.channel()
    with pytest.raises(TopologyError, match=r"queue journal: 406 .*x-stream-max-segment-size-bytes"):
        await topology.declare(channel, replace(TOPOLOGY, journal_segment_bytes=16_000_000))
    await declare_endpoint(connection, "e1", "PGAE")
    channel = await connection.channel()
    with pytest.raises(TopologyError, match=r"endpoint\.e1\.1: 406 .*x-single-active-consumer"):
        await topology.declare_endpoint(channel, "e1", 1, ordered=True)


async def test_a_journal_for_another_claim_life_says_what_to_type_and_that_helps(
    node: Node, private_url: str
) -> None:
    other = replace(TOPOLOGY, claim_life=timedelta(days=1))
    async with declared(private_url) as connection:
        channel = await connection.channel()
        with pytest.raises(JournalLifeError) as refused:
            await topology.declare(channel, other)
        told = str(refused.value)
        assert "to keep tickets for 604800s, CLAIMBUS_CLAIM_LIFE is 86400s by now" in told
        assert "Set CLAIMBUS_CLAIM_LIFE=604800s again" in told
        (typed,) = re.findall(r"'rabbitmqctl (.*?)'", told)
        await asyncio.to_thread(node.ctl, *shlex.split(typed))
        async with await connection.channel() as channel:
            await topology.declare(channel, other)


async def test_every_quorum_queue_keeps_what_it_cannot_pass_on(connection: Connection, amqp_url: str) -> None:
    await declare_endpoint(connection, "e1", "PGAE")
    queues = await asyncio.to_thread(management, "GET", f"/queues/{amqp_url.rpartition('/')[2]}")
    assert isinstance(queues, list)
    quorum = {queue["name"]: queue["arguments"] for queue in queues if queue["type"] == "quorum"}
    assert set(quorum) == {"deadletters", "retry.300ms", "retry.1s", "endpoint.e1.1"}
    for name, arguments in quorum.items():
        assert arguments["x-overflow"] == "reject-publish"
        assert arguments["x-delivery-limit"] == (1_000 if name.startswith("endpoint") else 1_000_000)
        assert "x-max-length" not in arguments
        assert arguments.get("x-dead-letter-strategy", "at-least-once") == "at-least-once"
        assert ("x-dead-letter-strategy" in arguments) == (name != "deadletters")


async def test_a_ticket_reaches_who_is_subscribed_and_entitled(
    connection: Connection, publisher: Publisher
) -> None:
    queues = [await declare_endpoint(connection, name, name) for name in ("PGAE", "SCE1", "ACES")]
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    await publisher.publish_ticket(ticket(2), to("all"))
    await publisher.publish_ticket(ticket(3), to(frozenset({"PGAE", "SCE1"})))
    expected = [[1, 2, 3], [2, 3], [2]]
    for queue, numbers in zip(queues, expected, strict=True):
        async with consuming(connection, queue) as inbox:
            await inbox.holds(len(numbers))
        assert inbox.claims == [f"claim{number:08}" for number in numbers]


async def test_bcc_gives_each_queue_one_copy_and_tells_nobody_of_another(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "SCE1")
    async with await connection.channel() as channel:
        await channel.bind(queue, "oms", "#.PGAE")
        await channel.bind(queue, "oms", "#.ACES")
    await publisher.publish_ticket(ticket(1), to(frozenset({"PGAE", "SCE1", "ACES"})))
    await publisher.publish_ticket(ticket(2), only("SCE1"))
    async with consuming(connection, queue) as inbox:
        await eventually(lambda: len(inbox.deliveries) >= 2)
    assert inbox.claims == ["claim00000001", "claim00000002"]
    assert inbox.deliveries[0].properties.headers == {"expires": 1_750_600_000}


async def test_a_retry_returns_to_its_endpoint_with_what_it_carries(
    connection: Connection, publisher: Publisher
) -> None:
    mine = await declare_endpoint(connection, "e1", "PGAE")
    other = await declare_endpoint(connection, "e2", "PGAE")
    sent = ticket(1, endpoint="e1", attempt=3, released=1_750_000_500, sequence=7, partitionkey="M1")
    async with consuming(connection, mine) as inbox, consuming(connection, other) as others:
        for rung in TOPOLOGY.ladder:
            await publisher.publish_retry(sent, rung)
            assert not inbox.deliveries, "it came back before its delay"
            await inbox.holds(1)
            delivery = inbox.deliveries.pop()
            assert delivery.ticket() == sent
            assert delivery.routing_key == "e1"
            sent = replace(delivery.ticket(), attempt=delivery.ticket().attempt + 1)
        assert not others.deliveries


async def test_what_is_for_an_endpoint_that_is_gone_becomes_a_dead_letter(
    connection: Connection, publisher: Publisher
) -> None:
    sent = ticket(1, endpoint="gone", attempt=2)
    await publisher.publish_redelivery(sent)
    await publisher.publish_retry(replace(sent, attempt=3), TOPOLOGY.ladder[0])
    async with consuming(connection, topology.DEADLETTERS) as letters:
        await letters.holds(2)
    for attempt, delivery in enumerate(letters.deliveries, start=2):
        letter = delivery.letter()
        assert (letter.cause, letter.endpoint, letter.attempts) == (ENDPOINT_GONE, "gone", attempt)
        assert letter.ticket == replace(sent, attempt=attempt)


async def test_a_workers_letter_arrives_as_it_was_written(
    connection: Connection, publisher: Publisher
) -> None:
    sent = [
        Letter(
            body=ticket(1).body(),
            ticket=ticket(1, endpoint="e1"),
            endpoint="e1",
            cause="rejected",
            detail="HTTP 404",
            attempts=3,
        ),
        Letter(body=b"\xff" * 200_000, ticket=None, endpoint="e1", cause="corrupt", detail="", attempts=0),
    ]
    async with consuming(connection, topology.DEADLETTERS) as letters:
        for letter in sent:
            await publisher.publish_letter(letter)
        await letters.holds(2)
    assert letters.deliveries[0].letter() == sent[0]
    assert replace(letters.deliveries[1].letter(), detail="") == sent[1]


async def test_what_is_handed_back_again_and_again_becomes_a_dead_letter_of_its_endpoint(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    consumer = Consumer(connection)
    async with consuming(connection, topology.DEADLETTERS) as letters:
        await consumer.start(queue, prefetch=1, on_delivery=Delivery.requeue)
        await letters.holds(1)
        await consumer.stop()
    letter = letters.deliveries[0].letter()
    assert (letter.cause, letter.endpoint, letter.ticket) == ("delivery-limit", "e1", ticket(1))


async def test_a_ticket_that_no_queue_takes_is_an_error(connection: Connection, publisher: Publisher) -> None:
    async with await connection.channel() as channel:
        await channel.unbind("journal", "oms", "#")
    with pytest.raises(UnroutableError, match=r"oms, routing key 'oms\.resource-outage\.changed\.PGAE'"):
        await publisher.publish_ticket(ticket(1), only("PGAE"))


async def test_counts_are_given_for_the_queues_that_exist(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    async with consuming(connection, "deadletters"):
        counts = await topology.message_counts(connection, ["missing", queue, "deadletters"])
    assert counts == {
        "missing": None,
        queue: (queue, 1, 0),
        "deadletters": ("deadletters", 0, 1),
    }
