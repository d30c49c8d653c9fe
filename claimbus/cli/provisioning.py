"""After a change in the database: RabbitMQ's queues and bindings at once, and news of it for the workers."""

import asyncio
from collections.abc import Collection

from claimbus.cli.commands import told
from claimbus.cli.output import say
from claimbus.cli.settings import load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database import endpoints
from claimbus.events.errors import ClaimbusError
from claimstore.quarantined import Quarantined
from consumers.provision import Provision


def provision(endpoint_ids: Collection[str]) -> bool:
    """Bind endpoints as the database has them, and tell the workers.

    When that is impossible now it says so, and returns False.
    """
    if not endpoint_ids:
        return True
    try:
        asyncio.run(_provision(endpoint_ids))
    except ClaimbusError as failed:
        say(f"claimbus: saved, but not yet in RabbitMQ, which the workers will see to: {told(failed)}")
        return False
    return True


async def _provision(endpoint_ids: Collection[str]) -> None:
    async with Wiring(load(), within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        publisher = await wiring.publisher("endpoints: announces")
        provision = Provision(database, await wiring.connection("endpoints: provisions"))
        quarantined = await Quarantined(store.connection).all()
        for endpoint_id in endpoint_ids:
            with database.snapshot() as sql:
                endpoint = endpoints.get(sql, endpoint_id)
            if endpoint.removed_at is not None:
                await provision.unbind(endpoint)  # workers make dead letters of what is left in the queue
            elif endpoint_id not in quarantined:
                await provision.give(endpoint_id)
            await publisher.announce(endpoint_id, "changed")
