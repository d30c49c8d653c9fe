"""Deliveries come, are settled once, and come again after every kind of loss."""

import asyncio

import pytest
import uvloop

from claimbus.broker import codec, topology
from claimbus.broker.codec import Announcement
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.control import listen
from claimbus.broker.errors import TopologyError
from claimbus.broker.publisher import Publisher
from tests.broker.conftest import TOPOLOGY, declared
from tests.broker.nodes import Node
from tests.broker.samples import Inbox, consuming, declare_endpoint, only, ticket
from tests.waiting import eventually


async def publish(publisher: Publisher, *numbers: int) -> None:
    for number in numbers:
        await publisher.publish_ticket(ticket(number), only("PGAE"))


def claims(*numbers: int) -> list[str]:
    return [f"claim{number:08}" for number in numbers]


async def messages(connection: Connection, queue: str) -> int:
    counts = (await topology.message_counts(connection, [queue]))[queue]
    assert counts is not None
    return counts.messages


async def test_a_delivery_knows_what_it_is(connection: Connection, publisher: Publisher) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    await publish(publisher, 1)
    async with consuming(connection, queue) as inbox:
        await inbox.holds(1)
    [delivery] = inbox.deliveries
    assert delivery.ticket() == ticket(1)
    assert delivery.routing_key == "oms.resource-outage.changed.PGAE"
    assert (delivery.queue, delivery.redelivered) == (queue, False)


async def test_no_more_than_the_prefetch_is_unsettled(connection: Connection, publisher: Publisher) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    await publish(publisher, *range(10))
    async with consuming(connection, queue, prefetch=3, ack=False) as inbox:
        await inbox.holds(3)
        inbox.deliveries[1].ack()
        await inbox.holds(4)
        assert await messages(connection, queue) == 6


async def test_acks_in_any_order_settle_exactly_what_was_acked(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    await publish(publisher, *range(60))
    async with consuming(connection, queue, ack=False) as inbox:
        await inbox.holds(60)
        for delivery in reversed(inbox.deliveries[::3]):
            delivery.ack()
            delivery.ack()
    async with consuming(connection, queue) as rest:
        await rest.holds(40)
    assert rest.claims == claims(*(number for number in range(60) if number % 3))
    assert await messages(connection, queue) == 0


async def test_stopping_hands_back_in_order_what_is_held(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE", ordered=True)
    await publish(publisher, *range(200))
    async with consuming(connection, queue, prefetch=50, ack=False) as inbox:
        await inbox.holds(50)
        for delivery in inbox.deliveries[:10]:
            delivery.ack()
        await inbox.holds(60)
    async with consuming(connection, queue) as rest:
        await rest.holds(190)
    assert rest.claims == claims(*range(10, 200))
    assert [delivery.redelivered for delivery in rest.deliveries] == [True] * 50 + [False] * 140


async def test_a_paused_consumer_settles_what_is_in_flight_and_hands_the_rest_back(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE", ordered=True)
    await publish(publisher, 1, 2)
    inbox = Inbox()
    consumer = Consumer(connection)
    await consumer.start(queue, prefetch=10, on_delivery=inbox.take)
    await inbox.holds(2)
    consumer.pause()
    await publish(publisher, 3)
    await eventually(lambda: consumer.unsettled == 3)
    inbox.deliveries[0].ack()
    await consumer.stop()
    assert inbox.claims == claims(1, 2)
    async with consuming(connection, queue) as rest:
        await rest.holds(2)
    assert rest.claims == claims(2, 3)


async def test_a_callback_that_raises_costs_neither_the_delivery_nor_the_connection(
    connection: Connection, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    taken: list[Delivery] = []

    def fail_once(delivery: Delivery) -> None:
        taken.append(delivery)
        if len(taken) == 1:
            raise RuntimeError("a mistake")
        delivery.ack()

    consumer = Consumer(connection)
    await consumer.start(queue, prefetch=10, on_delivery=fail_once)
    await publish(publisher, 1)
    await eventually(lambda: len(taken) == 2)
    await consumer.stop()
    assert taken[1].redelivered
    assert "a mistake" in caplog.text


async def test_an_ordered_queue_has_one_consumer_at_a_time_and_the_next_goes_on_in_order(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE", ordered=True)
    await publish(publisher, *range(10))
    first, second = Inbox(), Inbox()
    consumers = [Consumer(connection), Consumer(connection)]
    for consumer, inbox in zip(consumers, (first, second), strict=True):
        await consumer.start(queue, prefetch=1, on_delivery=inbox.take)
    for number in range(3):
        await first.holds(number + 1)
        first.deliveries[number].ack()
    await first.holds(4)
    assert not second.deliveries
    await consumers[0].stop()
    for number in range(7):
        await second.holds(number + 1)
        second.deliveries[number].ack()
    assert second.claims == claims(*range(3, 10))
    await consumers[1].stop()


async def test_a_missing_queue_is_an_error_at_once(connection: Connection) -> None:
    inbox = Inbox()
    with pytest.raises(TopologyError, match=r"consuming endpoint\.none\.1: 404"):
        await Consumer(connection).start(
            "endpoint.none.1", prefetch=1, on_delivery=inbox.take, on_void=inbox.voids.append
        )
    await asyncio.sleep(0)
    assert not inbox.voids


async def test_after_a_lost_connection_deliveries_come_again_and_old_tags_are_void(
    node: Node, private_url: str
) -> None:
    publisher = await Publisher.open(private_url, topology=TOPOLOGY)
    async with declared(private_url) as connection:
        queue = await declare_endpoint(connection, "e1", "PGAE")
        await publish(publisher, 1, 2, 3)
        async with consuming(connection, queue, ack=False) as inbox:
            await inbox.holds(3)
            held = inbox.deliveries.copy()
            await asyncio.to_thread(node.close_connections)
            await inbox.holds(6)
            assert "CONNECTION_FORCED" in inbox.voids[0]
            assert len(inbox.deliveries) == 6
            for delivery in held:
                assert delivery.void
                delivery.ack()
                delivery.requeue()
            assert not any(delivery.void for delivery in inbox.deliveries[3:])
            inbox.deliveries[3].ack()
        async with consuming(connection, queue) as rest:
            await rest.holds(2)
            assert len(inbox.voids) == 1
    await publisher.aclose()


async def test_a_queue_that_is_deleted_and_comes_back_is_consumed_again(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    async with consuming(connection, queue) as inbox:
        async with await connection.channel() as channel:
            await topology.unbind_endpoint(channel, queue, "e1", ())
            await channel.delete_queue(queue)
        await eventually(lambda: inbox.voids)
        await declare_endpoint(connection, "e1", "PGAE")
        await publish(publisher, 1)
        await inbox.holds(1)
        assert inbox.voids == ["RabbitMQ cancelled the consumer: its queue is gone"]


async def test_a_delivery_held_too_long_costs_its_own_channel_only(node: Node, private_url: str) -> None:
    publisher = await Publisher.open(private_url, topology=TOPOLOGY)
    node.call("application:set_env(rabbit, consumer_timeout, 300)")
    node.call("application:set_env(rabbit, channel_tick_interval, 100)")
    try:
        async with declared(private_url) as connection:
            slow = await declare_endpoint(connection, "slow", "PGAE")
            fine = await declare_endpoint(connection, "fine", "PGAE")
            async with consuming(connection, slow, ack=False) as held, consuming(connection, fine) as inbox:
                await publish(publisher, 1)
                await eventually(lambda: held.voids)
                assert "timed out" in held.voids[0]
                await eventually(lambda: len(held.deliveries) > 1)
                assert not inbox.voids
    finally:
        node.call("application:set_env(rabbit, consumer_timeout, 1800000)")
        node.call("application:set_env(rabbit, channel_tick_interval, 60000)")
    await publisher.aclose()


async def test_large_and_empty_bodies_are_put_together(connection: Connection, publisher: Publisher) -> None:
    bodies = [b"", b"x" * 300_000, b"y", b""]
    async with consuming(connection, topology.DEADLETTERS) as inbox:
        for body in bodies:
            letter = codec.Letter(body=body, ticket=None, endpoint=None, cause="c", detail="", attempts=0)
            await publisher.publish_letter(letter)
        await inbox.holds(len(bodies))
    assert [delivery.body for delivery in inbox.deliveries] == bodies


async def test_many_queues_are_consumed_on_one_connection(
    connection: Connection, publisher: Publisher
) -> None:
    queues = [await declare_endpoint(connection, f"e{number}", "PGAE") for number in range(20)]
    inboxes = [Inbox() for _ in queues]
    consumers = [Consumer(connection) for _ in queues]
    await asyncio.gather(
        *(
            consumer.start(queue, prefetch=5, on_delivery=inbox.take_and_ack)
            for consumer, queue, inbox in zip(consumers, queues, inboxes, strict=True)
        )
    )
    await publish(publisher, *range(20))
    await eventually(lambda: all(inbox.claims == claims(*range(20)) for inbox in inboxes))
    await asyncio.gather(*(consumer.stop() for consumer in consumers))


async def test_announcements_reach_every_listener(
    connection: Connection, publisher: Publisher, amqp_url: str
) -> None:
    heard: list[list[Announcement]] = [[], []]
    other = await Connection.open(amqp_url, name="other")
    listeners = [await listen(connection, heard[0].append), await listen(other, heard[1].append)]
    await publisher.send(codec.announcement_message(Announcement("e1", "held"))._replace(body=b"\xff"))
    await publisher.announce("e1", "held")
    await publisher.announce("e1", "released")
    expected = [Announcement("e1", "held"), Announcement("e1", "released")]
    await eventually(lambda: heard == [expected, expected])
    connection.abandon("test")

    async def announced_again() -> bool:
        await publisher.announce("e2", "changed")
        return Announcement("e2", "changed") in heard[0]

    await eventually(announced_again)
    for listener in listeners:
        await listener.stop()
    await other.aclose()


def test_the_hot_path_runs_on_uvloop(amqp_url: str) -> None:
    async def check() -> None:
        publisher = await Publisher.open(amqp_url, topology=TOPOLOGY)
        connection = await Connection.open(amqp_url, name="test")
        queue = await declare_endpoint(connection, "e1", "PGAE")
        async with consuming(connection, queue) as inbox:
            await asyncio.gather(*(publisher.publish_ticket(ticket(n), only("PGAE")) for n in range(1000)))
            publisher.connection.abandon("test")
            connection.abandon("test")
            await publish(publisher, 1000)
            await eventually(lambda: set(inbox.claims) == set(claims(*range(1001))))
        await publisher.aclose()
        await connection.aclose()

    uvloop.run(check())
