"""Rule 4, on RabbitMQ itself: the process of one endpoint's queue hangs."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from claimbus.broker import codec, journal, topology
from claimbus.broker.errors import TopologyError, UnconfirmedError
from claimbus.broker.publisher import Publisher
from claimbus.broker.quarantine import answers
from tests.broker.conftest import declared
from tests.broker.nodes import Node
from tests.broker.samples import consuming, declare_endpoint, everything, only, ticket
from tests.waiting import eventually


async def test_a_queue_that_answers_is_told_from_one_that_hangs(node: Node, private_url: str) -> None:
    publisher = await Publisher.open(private_url)
    async with declared(private_url) as connection:
        queues = [await declare_endpoint(connection, name, name.upper()) for name in ("idle", "used", "full")]
        await publisher.publish_ticket(ticket(1), only("FULL"))
        async with consuming(connection, queues[1]):
            for queue in queues:
                assert await answers(connection, queue)
                async with node.hanging(private_url, queue):
                    assert not await answers(connection, queue, within=0.3)
                assert await answers(connection, queue)
        with pytest.raises(TopologyError, match="404"):
            await answers(connection, "endpoint.none.1")
    await publisher.aclose()


async def test_a_hung_queue_is_unbound_the_others_go_on_and_what_it_missed_is_in_the_journal(
    node: Node, private_url: str
) -> None:
    publisher = await Publisher.open(private_url, confirm_timeout=1)
    async with declared(private_url) as connection:
        hung = await declare_endpoint(connection, "hung", "PGAE")
        fine = await declare_endpoint(connection, "fine", "PGAE")
        async with consuming(connection, hung) as missing, consuming(connection, fine) as inbox:
            await publisher.publish_ticket(ticket(1), only("PGAE"))
            await eventually(lambda: missing.claims == inbox.claims == ["claim00000001"])
            since = datetime.now(UTC)
            async with node.hanging(private_url, hung):
                # One hanging queue stops the confirms of what is routed to it…
                with pytest.raises(UnconfirmedError):
                    await publisher.send(codec.ticket_message(ticket(2), only("PGAE")))
                # …not of what is not…
                await publisher.publish_ticket(ticket(100), only("SCE1"))
                assert not await answers(connection, hung, within=0.3)
                # …a publish goes on trying…
                waiting = asyncio.create_task(publisher.publish_ticket(ticket(3), only("PGAE"), within=60))
                # …and unbinding it works while it hangs, and lets confirms flow again.
                async with await connection.channel() as channel:
                    await topology.unbind_endpoint(channel, hung, "hung", everything("PGAE"))
                await waiting
                for number in range(4, 30):
                    await publisher.publish_ticket(ticket(number), only("PGAE"))
                expected = {f"claim{number:08}" for number in range(1, 30)}
                await eventually(lambda: set(inbox.claims) == expected)
            await eventually(lambda: answers(connection, hung))
            async with await connection.channel() as channel:
                await topology.bind_endpoint(channel, hung, "hung", everything("PGAE"))
            async for entry in journal.read(connection, since=since):
                if entry.ticket is not None and entry.routing_key.endswith(".PGAE"):
                    await publisher.publish_redelivery(replace(entry.ticket, endpoint="hung"))
            await eventually(lambda: set(missing.claims) == expected)
    await publisher.aclose()
