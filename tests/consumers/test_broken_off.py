"""What breaks off half-way, as RabbitMQ or a worker goes away at any moment, is finished by the next try."""

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from claimbus.broker import quarantine as hanging
from claimbus.broker.channel import Channel
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.broker.topology import endpoint_queue
from claimbus.cli.demo.receivers import Behaviour
from claimbus.database import endpoints
from claimbus.database.endpoint import Endpoint
from claimstore.leases import Leases
from claimstore.quarantined import Quarantined
from consumers.provision import Provision
from consumers.quarantine import Quarantine
from tests.consumers.house import ACT, House
from tests.services import management
from tests.waiting import eventually


async def lost(*_: object) -> None:
    raise BrokerUnavailableError("the connection was lost")


def exchanges(house: House, endpoint: Endpoint) -> set[str]:
    """The exchanges to which RabbitMQ has the endpoint's queue bound."""
    vhost = urlsplit(house.wiring.settings.amqp_url).path[1:]
    queue = endpoint_queue(endpoint.id, endpoint.generation)
    found = management("GET", f"/queues/{vhost}/{queue}/bindings")
    assert isinstance(found, list)
    return {one["source"] for one in found} - {""}


def watch(house: House, provision: Provision) -> Quarantine:
    async def recover(*_: object) -> int:
        return 0

    redis = house.store.connection
    return Quarantine(
        worker="w1",
        database=house.database,
        leases=Leases(redis),
        quarantined=Quarantined(redis),
        provision=provision,
        connection=house.connection,
        recover=recover,
        alarm=lambda _: None,
    )


async def test_an_unbinding_that_breaks_off_is_finished_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", "market.#", "oms.#")
    assert "oms" in exchanges(house, endpoint)
    await house.database.run(lambda sql: endpoints.unsubscribe(sql, endpoint.id, ["oms.#"], ACT))
    provision = Provision(house.database, house.connection)
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "unbind", lost)
        with pytest.raises(BrokerUnavailableError):
            await provision.give(endpoint.id)
    await provision.give(endpoint.id)
    assert exchanges(house, endpoint) == {"market", "redeliver"}


async def test_a_queue_is_never_deleted_while_it_is_bound(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", "market.#")
    await house.database.run(lambda sql: endpoints.remove(sql, endpoint.id, ACT))
    provision = Provision(house.database, house.connection)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "channel", lost)
        with pytest.raises(BrokerUnavailableError):
            await provision.remove(endpoint.id, 1, house.publisher)
    bound: list[set[str]] = []
    delete = Channel.delete_queue

    async def noted(channel: Channel, name: str) -> None:
        bound.append(await asyncio.to_thread(exchanges, house, endpoint))
        await delete(channel, name)

    monkeypatch.setattr(Channel, "delete_queue", noted)
    await provision.remove(endpoint.id, 1, house.publisher)
    assert bound == [set()]
    assert await provision.remove(endpoint.id, 1, house.publisher) == 0


async def test_a_quarantine_that_breaks_off_is_finished_by_the_next_look(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", "market.#")
    quarantine = watch(house, Provision(house.database, house.connection))

    async def silent(*_: object) -> bool:
        return False

    monkeypatch.setattr(hanging, "answers", silent)
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "unbind", lost)
        await quarantine.look()
    assert exchanges(house, endpoint)
    await quarantine.look()
    assert not exchanges(house, endpoint)


async def test_a_queue_of_which_nothing_is_heard_hides_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.participant("AAA1")
    (first, _), (other, _) = await house.endpoint("AAA1"), await house.endpoint("AAA1")
    quarantine = watch(house, Provision(house.database, house.connection))
    assert not await quarantine.look()
    seen = await Quarantined(house.store.connection).last_look()
    async with await house.connection.channel() as channel:
        await channel.delete_queue(endpoint_queue(other.id, 1))
    answers = hanging.answers

    async def unheard(connection: Connection, queue: str) -> bool:
        if queue == endpoint_queue(first.id, 1):
            raise BrokerUnavailableError(f"declaring queue {queue}: no answer within 15 s")
        return await answers(connection, queue)

    monkeypatch.setattr(hanging, "answers", unheard)
    assert await quarantine.look()
    assert "market" in exchanges(house, other)
    assert await Quarantined(house.store.connection).last_look() == seen


async def test_a_removal_that_fails_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.worker(reconcile_every=timedelta(milliseconds=300))
    remove, failed = Provision.remove, 0

    async def fails_once(provision: Provision, *what: object) -> int:
        nonlocal failed
        if not failed:
            failed += 1
            await lost()
        return await remove(provision, *what)  # type: ignore[arg-type] # whatever it is given

    monkeypatch.setattr(Provision, "remove", fails_once)
    await house.remove(endpoint)
    await eventually(lambda: house.has_no_queue(endpoint), within=30.0)
    assert failed == 1


@pytest.mark.parametrize("ordered", [False, True])
async def test_whoever_waits_for_a_rate_or_a_retry_stops_at_once(house: House, ordered: bool) -> None:
    house.participant("AAA1")
    refusing = Behaviour(kind="status", status=500)
    endpoint, receiver = (
        await house.endpoint("AAA1", behaviour=refusing, ordered=True)
        if ordered
        else await house.endpoint("AAA1", rate_limit=0.1)
    )
    worker = await house.worker(retry_ladder="1h", grace=timedelta(minutes=1))
    await house.publish(count=3)
    await eventually(lambda: house.attempts_when(endpoint, 1))
    await eventually(lambda: any(lane._hands.busy for lane in worker._roster.lanes))
    async with asyncio.timeout(30):
        await house.stop_workers()
    assert len(receiver.received) == 1
