"""The synchronous face: the same producer, from any thread."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from claimbus.broker.publisher import Publisher
from claimbus.events.errors import ConfigurationError, InvalidEventError
from claimstore.identities import Identities
from claimstore.store import ClaimStore
from producers.producer import Producer, PublishingFailedError
from producers.sync import SyncProducer
from tests.producers.bus import LIFE, SOURCE, TOPOLOGY, Bus, closed

Opening = Callable[[], AbstractAsyncContextManager[Producer]]


@pytest.fixture
def opening(shared_amqp_url: str, redis_url: str, key_prefix: str) -> Opening:
    @asynccontextmanager
    async def open_producer() -> AsyncIterator[Producer]:
        async with await ClaimStore.open(redis_url, prefix=key_prefix, life=LIFE) as store:
            publisher = await Publisher.open(shared_amqp_url, topology=TOPOLOGY)
            try:
                yield Producer(store, Identities(store.connection, life=LIFE), publisher, source=SOURCE)
            finally:
                await publisher.aclose()

    return open_producer


@pytest.fixture
def producer(opening: Opening) -> Iterator[SyncProducer]:
    with SyncProducer(opening) as producer:
        yield producer


async def test_what_it_publishes_arrives_and_a_second_publish_is_skipped(
    bus: Bus, producer: SyncProducer
) -> None:
    assert producer.publish(closed()).published
    assert not producer.publish(closed()).published
    made = producer.event("market.dam.closed", closed(2).body)
    assert producer.publish(made, fresh=True).published
    first, second = await bus.hears(2)
    assert (first.message_id, second.message_id) == (closed().identity, made.identity)


async def test_threads_publish_at_once(bus: Bus, producer: SyncProducer) -> None:
    with ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(lambda number: producer.publish(closed(number)), range(1, 201)))
    assert all(receipt.published for receipt in receipts)
    tickets = await bus.hears(200)
    assert {ticket.message_id for ticket in tickets} == {receipt.message_id for receipt in receipts}


def test_errors_come_to_the_caller(producer: SyncProducer) -> None:
    with pytest.raises(InvalidEventError):
        producer.publish(producer.event("market.dam.shut", b"{}"))
    producer.publish(closed(1, reason="the first"))
    with pytest.raises(PublishingFailedError):
        producer.publish_many([closed(1), closed(2)])
    assert [receipt.published for receipt in producer.publish_many([closed(2), closed(3)])] == [False, True]


def test_closing_waits_for_what_is_under_way(opening: Opening) -> None:
    producer = SyncProducer(opening)
    published: list[int] = []
    thread = threading.Thread(
        target=lambda: published.append(
            len(producer.publish_many([closed(number) for number in range(1, 501)]))
        )
    )
    thread.start()
    while not producer._under_way and thread.is_alive():
        pass
    producer.close()
    thread.join()
    assert published == [500]
    producer.close()
    with pytest.raises(RuntimeError, match="closed"):
        producer.publish(closed())


def test_what_fails_at_opening_is_raised() -> None:
    @asynccontextmanager
    async def refuse() -> AsyncIterator[Producer]:
        raise ConfigurationError("amqp_url", "is wrong")
        yield

    with pytest.raises(ConfigurationError):
        SyncProducer(refuse)
