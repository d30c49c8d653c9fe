"""Rules 1 and 4: confirmed means confirmed, and nothing else does."""

import asyncio

import pytest

from claimbus.broker import codec
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, NackedError, UnconfirmedError, UnroutableError
from claimbus.broker.publisher import Publisher
from claimbus.events.errors import InvalidInputError
from claimbus.events.routing import Route
from tests.broker.conftest import TOPOLOGY, declared
from tests.broker.nodes import Node
from tests.broker.proxy import proxy_before
from tests.broker.samples import consuming, declare_endpoint, only, ticket, to
from tests.waiting import eventually


async def test_many_publishes_are_confirmed_with_a_bounded_window(
    connection: Connection, amqp_url: str
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    publisher = await Publisher.open(amqp_url, window=10)
    most = 0

    async def publish(number: int) -> None:
        nonlocal most
        await publisher.publish_ticket(ticket(number), only("PGAE"))
        most = max(most, publisher.unconfirmed)

    await asyncio.gather(*(publish(number) for number in range(500)))
    await publisher.aclose()
    assert most <= 10
    async with consuming(connection, queue) as inbox:
        await inbox.holds(500)
    assert sorted(inbox.claims) == [f"claim{number:08}" for number in range(500)]


async def test_send_does_not_wait_and_its_future_is_the_confirm(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    sent = [publisher.send(codec.ticket_message(ticket(number), only("PGAE"))) for number in range(50)]
    assert publisher.unconfirmed == 50
    await asyncio.gather(*sent)
    assert publisher.unconfirmed == 0
    async with consuming(connection, queue) as inbox:
        await inbox.holds(50)
    assert inbox.claims == [f"claim{number:08}" for number in range(50)], "the order of sending is kept"


async def test_a_queue_that_is_full_makes_a_publish_unconfirmed(
    connection: Connection, publisher: Publisher
) -> None:
    async with await connection.channel() as channel:
        await channel.declare_queue(
            "full", {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await channel.bind("full", "oms", "#.FULL")

    async def fill() -> bool:
        try:
            await publisher.publish_ticket(ticket(1), only("FULL"))
        except NackedError:
            return True
        return False

    await eventually(fill)
    await publisher.publish_ticket(ticket(2), only("PGAE"))


async def test_a_returned_message_does_not_fail_its_neighbours(
    connection: Connection, publisher: Publisher
) -> None:
    async with await connection.channel() as channel:
        await channel.unbind("journal", "oms", "#")
    await declare_endpoint(connection, "e1", "PGAE")
    sent = [
        publisher.send(codec.ticket_message(ticket(number), only("PGAE" if number % 2 else "NOBODY")))
        for number in range(40)
    ]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnroutableError, type(None)] * 20


async def test_an_announcement_that_nobody_hears_is_no_error(publisher: Publisher) -> None:
    await publisher.announce("e1", "changed")


async def test_a_message_beyond_amqps_limits_is_refused_and_harms_nothing(publisher: Publisher) -> None:
    huge = Route("oms", "oms.a.b.X", tuple(f"oms.a.b.{number:060}" for number in range(2000)))
    with pytest.raises(InvalidInputError, match="headers"):
        await publisher.publish_ticket(ticket(1), huge)
    with pytest.raises(InvalidInputError, match="properties"):
        await publisher.publish_ticket(ticket(1, type="t" * 256), only("PGAE"))
    await publisher.publish_ticket(ticket(1), to("all"))


async def test_unconfirmed_publishes_are_carried_through_when_the_server_closes_the_connection(
    node: Node, private_url: str
) -> None:
    publisher = await Publisher.open(private_url, window=50, topology=TOPOLOGY)
    losses: list[bool] = []
    publisher.connection.on_reopened(lambda: losses.append(True))
    published = 0

    async def publish() -> None:
        nonlocal published
        while not losses:
            published += 1
            await publisher.publish_ticket(ticket(published), only("PGAE"))

    async with declared(private_url) as connection:
        queue = await declare_endpoint(connection, "e1", "PGAE")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(publish())
            await eventually(lambda: published > 500)
            await asyncio.to_thread(node.close_connections)
        await publisher.aclose()
        async with consuming(connection, queue) as inbox:
            await eventually(lambda: len(set(inbox.claims)) == published)


async def test_a_publisher_declares_again_what_a_new_broker_does_not_know(
    connection: Connection, amqp_url: str
) -> None:
    publisher = await Publisher.open(amqp_url, topology=TOPOLOGY)
    async with await connection.channel() as channel:
        await channel.delete_queue("retry.1s")
    publisher.connection.abandon("test")
    await publisher.publish_retry(ticket(1, endpoint="e1"), TOPOLOGY.ladder[1])
    await publisher.aclose()


async def test_silence_within_the_bound_is_unconfirmed_and_brings_a_fresh_connection(
    connection: Connection, amqp_url: str
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    async with proxy_before(amqp_url) as proxy:
        publisher = await Publisher.open(proxy.url, confirm_timeout=3)
        proxy.mute()
        with pytest.raises(UnconfirmedError, match="no confirm within 3 s"):
            await publisher.send(codec.ticket_message(ticket(1), only("PGAE")))
        await eventually(lambda: publisher.has_place)
        proxy.mute()
        await publisher.publish_ticket(ticket(2), only("PGAE"), within=10)
        assert proxy.accepted == 3
        await publisher.aclose()
    async with consuming(connection, queue) as inbox:
        await eventually(lambda: {"claim00000001", "claim00000002"} <= set(inbox.claims))


async def test_without_a_connection_a_publish_fails_within_its_bound_and_a_send_at_once(
    connection: Connection, amqp_url: str
) -> None:
    async with proxy_before(amqp_url) as proxy:
        publisher = await Publisher.open(proxy.url, confirm_timeout=0.4)
        await proxy.refuse()
        await eventually(lambda: not publisher.has_place)
        with pytest.raises(BrokerUnavailableError):
            await publisher.send(codec.ticket_message(ticket(1), only("PGAE")))
        with pytest.raises(BrokerUnavailableError):
            await publisher.publish_ticket(ticket(1), only("PGAE"), within=0.4)
        await publisher.aclose()


async def test_a_cancelled_publish_leaves_its_place_to_others(publisher: Publisher) -> None:
    task = asyncio.create_task(publisher.publish_ticket(ticket(1), to("all")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await publisher.publish_ticket(ticket(2), to("all"))
    assert publisher.unconfirmed == 0


async def test_closing_waits_for_what_is_in_flight(connection: Connection, amqp_url: str) -> None:
    publisher = await Publisher.open(amqp_url)
    sent = [publisher.send(codec.ticket_message(ticket(number), to("all"))) for number in range(100)]
    await publisher.aclose()
    assert all(future.done() and not future.exception() for future in sent)


async def test_closing_ends_every_wait(connection: Connection, amqp_url: str) -> None:
    publisher = await Publisher.open(amqp_url, window=1)
    publishing = [asyncio.create_task(publisher.publish_ticket(ticket(n), to("all"))) for n in range(200)]
    await asyncio.sleep(0)
    await publisher.aclose()
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), BrokerUnavailableError}
    with pytest.raises(BrokerUnavailableError, match="closed"):
        await publisher.publish_ticket(ticket(1), to("all"))
