"""An endpoint goes; nothing that was in its queue does, and no publisher notices."""

import asyncio

import pytest

from claimbus.broker import topology
from claimbus.broker.codec import ENDPOINT_GONE
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.publisher import Publisher
from claimbus.broker.removal import remove_endpoint
from tests.broker.samples import consuming, declare_endpoint, everything, only, ticket


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_is_left_in_a_queue_becomes_dead_letters(
    connection: Connection, publisher: Publisher, ordered: bool
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE", ordered=ordered)
    sent = [ticket(number) for number in range(700)]
    await asyncio.gather(*(publisher.publish_ticket(one, only("PGAE")) for one in sent))
    bindings = everything("PGAE")
    assert await remove_endpoint(connection, publisher, queue, "e1", bindings) == 700
    assert await remove_endpoint(connection, publisher, queue, "e1", bindings) == 0
    async with consuming(connection, topology.DEADLETTERS) as inbox:
        await inbox.holds(700)
    letters = [delivery.letter() for delivery in inbox.deliveries]
    assert {(letter.cause, letter.endpoint) for letter in letters} == {(ENDPOINT_GONE, "e1")}
    assert {letter.ticket and letter.ticket.claim_id for letter in letters} == {one.claim_id for one in sent}


async def test_what_is_on_its_way_when_nothing_more_seems_to_come_is_not_lost(
    connection: Connection, publisher: Publisher
) -> None:
    """RabbitMQ is silent for longer than `settle`: most tickets are on their way to nobody by then."""
    for number in range(4):
        queue = await declare_endpoint(connection, f"e{number}", "PGAE")
        await asyncio.gather(*(publisher.publish_ticket(ticket(one), only("PGAE")) for one in range(300)))
        bindings = everything("PGAE")
        moved = await remove_endpoint(connection, publisher, queue, f"e{number}", bindings, settle=0.0003)
        assert moved >= 300


async def test_publishers_keep_their_connection_while_endpoints_go(
    connection: Connection, publisher: Publisher
) -> None:
    queues = [await declare_endpoint(connection, f"e{number}", "PGAE") for number in range(5)]
    stays = await declare_endpoint(connection, "stays", "PGAE")
    losses: list[bool] = []
    publisher.connection.on_reopened(lambda: losses.append(True))
    published = 0
    removed = False

    async def publish() -> None:
        nonlocal published
        while not removed:
            published += 1
            await publisher.publish_ticket(ticket(published), only("PGAE"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(publish())
        moved = await asyncio.gather(
            *(
                remove_endpoint(connection, publisher, queue, f"e{number}", everything("PGAE"))
                for number, queue in enumerate(queues)
            )
        )
        removed = True
    assert not losses
    assert all(moved)
    async with consuming(connection, topology.DEADLETTERS) as letters, consuming(connection, stays) as rest:
        await letters.holds(sum(moved))
        await rest.holds(published)


async def test_a_queue_that_is_still_consumed_is_not_removed(
    connection: Connection, publisher: Publisher
) -> None:
    queue = await declare_endpoint(connection, "e1", "PGAE")
    bindings = everything("PGAE")
    async with consuming(connection, queue):
        with pytest.raises(BrokerUnavailableError, match="still has 1 consumers"):
            await remove_endpoint(connection, publisher, queue, "e1", bindings, within=0.2)
    assert await remove_endpoint(connection, publisher, queue, "e1", bindings) == 0
