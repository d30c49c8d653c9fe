"""A queue that hangs is not consumed again: RabbitMQ would close the whole connection a minute later."""

import pytest

from claimbus.broker.consumer import Consumer
from tests.broker.conftest import declared
from tests.broker.nodes import Node
from tests.broker.samples import Inbox, declare_endpoint
from tests.waiting import eventually


async def test_a_hung_queue_is_consumed_again_once_it_answers(
    node: Node, private_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with declared(private_url) as connection:
        queue, inbox = await declare_endpoint(connection, "hung", "PGAE"), Inbox()
        consumer = Consumer(connection)
        await consumer.start(queue, prefetch=1, on_delivery=inbox.take)
        async with node.hanging(private_url, queue):
            connection.abandon("a test")
            await eventually(lambda: f"{queue} does not answer" in caplog.text)
            assert not consumer.consuming
        await eventually(lambda: consumer.consuming)
        await consumer.stop()
