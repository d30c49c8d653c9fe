"""Telling whether a queue's leader answers."""

import asyncio
from typing import Final

from claimbus.broker.connection import Connection

_REAL_ANSWER: Final = 0.2
"""Seconds. RabbitMQ waits 250 ms for a quorum queue's leader, then calls the queue empty and unconsumed."""


async def answers(connection: Connection, queue: str, *, within: float = 2.0) -> bool:
    """Tell whether the leader of this quorum queue answers, asking until ``within`` seconds have passed.

    RabbitMQ never says that a queue hangs: it answers a passive declare with no messages and no consumers
    after 250 ms (3.10.8; a suspended leader was tried). So an answer is believed when it counts anything, or
    came sooner. Raises TopologyError when there is no such queue and BrokerUnavailableError when RabbitMQ
    itself does not answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    async with await connection.channel() as channel:
        while True:
            asked = loop.time()
            found = await channel.count(queue)
            if found.messages or found.consumers or loop.time() - asked < _REAL_ANSWER:
                return True
            if loop.time() >= deadline:
                return False
