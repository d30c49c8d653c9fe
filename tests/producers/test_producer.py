"""Check in, then publish: on real RabbitMQ and Redis, with each of them refusing or away."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, NackedError, UnroutableError
from claimbus.broker.publisher import Publisher
from claimbus.events.errors import ClaimbusError, InvalidEventError
from claimbus.events.event import ALL, Event
from claimstore.errors import IdentityConflictError, StoreUnavailableError
from producers.producer import PublishingFailedError
from tests.claimstore.private import PrivateRedis
from tests.producers.bus import Bus, closed, open_bus

TWO = frozenset({"PGAE", "SCE1"})


async def test_a_published_event_can_be_redeemed_with_its_ticket(bus: Bus) -> None:
    event = closed(audience=TWO)
    receipt = await bus.producer.publish(event)
    (ticket,) = await bus.hears(1)
    assert (receipt.message_id, receipt.published) == (event.identity, True)
    assert (ticket.message_id, ticket.type, ticket.partitionkey) == (
        event.identity,
        "market.dam.closed",
        "dam/2026-03-05",
    )
    claim = await bus.redeem(ticket)
    assert claim.event == event


async def test_a_ticket_has_no_body_no_hash_and_no_audience(bus: Bus) -> None:
    event = closed(audience=TWO)
    await bus.producer.publish(event)
    await bus.hears(1)
    (delivery,) = bus.heard
    assert delivery.routing_key == "market.dam.closed.PGAE"
    assert set(delivery.properties.headers) == {"expires", "partitionkey"}
    sent = repr((delivery.body, delivery.properties))
    for untold in ("SCE1", event.body.decode(), hashlib.sha256(event.body).hexdigest()):
        assert untold not in sent


async def test_a_second_publish_of_a_confirmed_event_is_skipped(bus: Bus) -> None:
    first = await bus.producer.publish(closed())
    second = await bus.producer.publish(closed())
    await bus.producer.publish(closed(2))
    tickets = await bus.hears(2)
    assert (first.published, second.published) == (True, False)
    assert first.message_id == second.message_id
    assert [ticket.message_id for ticket in tickets] == [closed().identity, closed(2).identity]


async def test_another_body_under_the_same_id_is_a_conflict(bus: Bus) -> None:
    await bus.producer.publish(closed())
    before = await bus.claims()
    with pytest.raises(IdentityConflictError) as conflict:
        await bus.producer.publish(closed(reason="another body"))
    assert conflict.value.field == "id"
    assert await bus.claims() == before


async def test_two_systems_may_use_one_id(bus: Bus) -> None:
    await bus.producer.publish(closed())
    other = await bus.producer.publish(closed(source="urn:claimbus:test:other", reason="another body"))
    assert other.published
    first, second = await bus.hears(2)
    assert first.message_id != second.message_id


async def test_rabbitmq_away_leaves_a_claim_and_no_ticket_and_a_second_publish_carries_it_through(
    bus: Bus,
) -> None:
    gone = await Publisher.open(bus.amqp_url, confirm_timeout=1)
    producer = bus.another_producer(gone)
    await gone.aclose()
    with pytest.raises(BrokerUnavailableError):
        await producer.publish(closed())
    assert await bus.claims() == 1, "checked in before it was published"
    assert bus.tickets == []
    receipt = await bus.producer.publish(closed())
    (ticket,) = await bus.hears(1)
    assert receipt.published
    assert await bus.claims() == 1, "carried through under the same claim"
    assert (await bus.redeem(ticket)).event == closed()


async def test_a_nack_is_an_error_and_the_event_can_be_published_again(
    amqp_url: str, redis_url: str, key_prefix: str
) -> None:
    async with open_bus(amqp_url, redis_url, key_prefix) as bus:
        connection = await Connection.open(amqp_url, name="tests")
        async with await connection.channel() as channel:
            full = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
            await channel.declare_queue("full", full)
            await channel.bind("full", "market", "#")
        await bus.producer.publish(closed(1))
        with pytest.raises(NackedError):
            await bus.producer.publish(closed(2))
        async with await connection.channel() as channel:
            await channel.unbind("full", "market", "#")
        assert (await bus.producer.publish(closed(2))).published
        await connection.aclose()


async def test_a_ticket_that_no_queue_takes_is_an_error(
    amqp_url: str, redis_url: str, key_prefix: str
) -> None:
    async with open_bus(amqp_url, redis_url, key_prefix, listens=False) as bus:
        connection = await Connection.open(amqp_url, name="tests")
        async with await connection.channel() as channel:
            await channel.unbind("journal", "market", "#")
        await connection.aclose()
        with pytest.raises(UnroutableError):
            await bus.producer.publish(closed())


async def test_without_redis_nothing_is_published(
    shared_amqp_url: str, redis_url: str, key_prefix: str, tmp_path: Path
) -> None:
    redis = PrivateRedis(tmp_path)
    redis.start()
    try:
        async with (
            open_bus(shared_amqp_url, redis_url, key_prefix) as ear,
            open_bus(shared_amqp_url, redis.url, key_prefix) as bus,
        ):
            await bus.producer.publish(closed(1))
            redis.kill()
            for fresh in (False, True):
                with pytest.raises(StoreUnavailableError):
                    await bus.producer.publish(closed(2), fresh=fresh)
            await ear.producer.publish(closed(3))
            tickets = await ear.hears(2)
    finally:
        redis.kill()
    assert [ticket.message_id for ticket in tickets] == [closed(1).identity, closed(3).identity]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (replace(closed(), type="market.dam.shut"), "type"),
        (replace(closed(), id="x" * 129), "id"),
        (replace(closed(), time=closed().time.replace(tzinfo=None)), "time"),
        (replace(closed(), body=b'{"market": "dam"}'), "body.trade_date"),
        (replace(closed(), body=b"{"), "body"),
        (replace(closed(), audience=frozenset()), "audience"),
        (replace(closed(), audience=frozenset({"pge"})), "audience"),
        (replace(closed(), audience=frozenset({"PGAE", "NOBODY"})), "audience"),
    ],
)
async def test_a_bad_event_is_refused_with_its_field_before_it_is_checked_in(
    bus: Bus, event: Event, field: str
) -> None:
    producer = bus.another_producer(bus.publisher, participants=lambda: TWO)
    for fresh in (True, False):
        with pytest.raises(InvalidEventError) as refused:
            await producer.publish(event, fresh=fresh)
        assert refused.value.field == field
    with pytest.raises(InvalidEventError):
        await producer.publish_many([closed(2), event])
    assert await bus.claims() == 0
    await bus.producer.publish(closed(3))
    assert len(await bus.hears(1)) == 1


async def test_many_are_published_once_each(bus: Bus) -> None:
    events = [closed(number) for number in range(1, 301)]
    receipts = await bus.producer.publish_many(events)
    tickets = await bus.hears(300)
    assert [receipt.message_id for receipt in receipts] == [event.identity for event in events]
    assert sorted(ticket.message_id for ticket in tickets) == sorted(event.identity for event in events)


async def test_when_some_of_many_fail_the_others_are_published(bus: Bus) -> None:
    await bus.producer.publish(closed(7, reason="the first"))
    with pytest.raises(PublishingFailedError) as failed:
        await bus.producer.publish_many([closed(number) for number in range(1, 21)])
    (conflict,) = failed.value.exceptions
    assert isinstance(conflict, IdentityConflictError)
    assert isinstance(failed.value, ClaimbusError), "one except is enough for whatever may go wrong"
    tickets = await bus.hears(20)
    assert {ticket.message_id for ticket in tickets} == {closed(number).identity for number in range(1, 21)}
    again = await bus.producer.publish_many([closed(number) for number in range(1, 21) if number != 7])
    assert not any(receipt.published for receipt in again)


def test_what_except_star_leaves_of_many_failures_is_ours_too() -> None:
    away, refused = StoreUnavailableError("away"), InvalidEventError("type", "unknown")
    caught, left = PublishingFailedError("2 of 3 events", [away, refused]).split(StoreUnavailableError)
    assert isinstance(caught, PublishingFailedError)
    assert isinstance(left, PublishingFailedError)
    assert (caught.exceptions, left.exceptions) == ((away,), (refused,))


async def test_one_event_published_by_several_at_once_has_one_identity_and_one_claim(bus: Bus) -> None:
    await asyncio.gather(*(bus.producer.publish(closed()) for _ in range(20)))
    tickets = await bus.hears(1)
    assert {ticket.message_id for ticket in tickets} == {closed().identity}
    assert {ticket.claim_id for ticket in tickets} == {tickets[0].claim_id}
    assert await bus.claims() == 1


async def test_a_body_is_streamed_in_and_out(bus: Bus) -> None:
    piece = bytes(range(256)) * 1024

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield piece

    event = replace(closed(), body=b"", datacontenttype="application/octet-stream")
    await bus.producer.publish_stream(event, pieces())
    (ticket,) = await bus.hears(1)
    claim = await bus.redeem(ticket)
    assert claim.chunks > 0
    assert b"".join([found async for found in bus.store.body(claim)]) == piece * 12


async def test_a_body_that_breaks_off_is_not_published(bus: Bus) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await bus.producer.publish_stream(replace(closed(), body=b""), pieces())
    await bus.producer.publish(closed(2))
    (ticket,) = await bus.hears(1)
    assert ticket.message_id == closed(2).identity


async def test_a_body_over_the_limit_is_refused_and_not_published(bus: Bus) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * (1 << 20)

    with pytest.raises(InvalidEventError) as refused:
        await bus.producer.publish_stream(replace(closed(), body=b""), pieces())
    assert refused.value.field == "body"
    assert bus.tickets == []


async def test_the_callers_trace_goes_with_the_ticket(bus: Bus) -> None:
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(context)):
        await bus.producer.publish(closed())
    (ticket,) = await bus.hears(1)
    assert ticket.traceparent == f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_what_is_published_is_counted_by_its_type(bus: Bus) -> None:
    counted: list[str] = []
    producer = bus.another_producer(bus.publisher, published=counted.append)
    await producer.publish(closed())
    await producer.publish(closed())
    await producer.publish(producer.event("market.dam.closed", closed(2).body, audience=ALL), fresh=True)
    assert counted == ["market.dam.closed"] * 2
