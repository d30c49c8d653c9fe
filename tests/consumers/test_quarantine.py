"""A queue whose process hangs, on a private RabbitMQ: the others go on, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from claimbus.broker.topology import endpoint_queue
from claimbus.cli.services import RabbitNode
from claimbus.cli.settings import Settings
from claimbus.database import audit
from claimbus.database.endpoint import Endpoint
from claimstore.quarantined import Quarantined
from tests.consumers.house import House, open_house
from tests.waiting import eventually


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RabbitNode]:
    with RabbitNode(tmp_path / "rabbitmq") as node:
        yield node


@pytest.fixture
async def house(node: RabbitNode, settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    private = settings.model_copy(
        update={
            "amqp_url": node.amqp_url,
            "confirm_timeout": timedelta(seconds=3),
            "watch_every": timedelta(milliseconds=500),
        }
    )
    async with open_house(private, tmp_path) as house:
        yield house


async def hang(node: RabbitNode, endpoint: Endpoint, action: str) -> None:
    """Suspend or resume the process of the endpoint's queue."""
    name = f"%2F_{endpoint_queue(endpoint.id, endpoint.generation)}"
    await asyncio.to_thread(node.ctl, "eval", f"sys:{action}(whereis('{name}')).")


async def test_a_hanging_queue_is_quarantined_and_gets_later_what_it_missed(
    node: RabbitNode, house: House
) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    hanging, at_hanging = await house.endpoint("AAA1", "market.#")
    _, at_well = await house.endpoint("BBB1", "market.#")
    await house.worker()
    quarantined = Quarantined(house.store.connection)
    await hang(node, hanging, "suspend")
    sent = await house.publish(count=20)  # confirmed, although one queue of theirs hangs
    assert list(await quarantined.all()) == [hanging.id]
    await eventually(lambda: {one.header("webhook-id") for one in at_well.received} >= set(sent))
    await hang(node, hanging, "resume")
    await eventually(
        lambda: {one.header("webhook-id") for one in at_hanging.received} >= set(sent), within=60
    )

    async def healed() -> bool:
        return not await quarantined.all()

    await eventually(healed, within=30)
    with house.database.snapshot() as sql:
        entry = audit.find(sql, kind="endpoint", object_id=hanging.id, actor="worker").rows[0]
    assert (entry.action, entry.reason) == ("recovered", "its queue did not answer, or was gone")
    (after,) = await house.publish()
    await eventually(lambda: after in {one.header("webhook-id") for one in at_hanging.received})
