"""What happens around an open stream: keepers, portals, servers and slow readers, and nothing is lost."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimbus.broker import topology
from claimbus.cli.settings import Settings
from claimbus.events.stream import MAX_BODY, CloseCode
from claimbus.portal import stream_connection, stream_window
from claimbus.portal.stream_frames import frame_of
from claimbus.portal.stream_source import Source
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import noise
from tests.portal.streams import (
    Stage,
    identities,
    open_stage,
    portal_process,
    stage,
    stream_settings,
)
from tests.waiting import eventually, never

__all__ = ["stage", "stream_settings"]


async def test_a_paused_endpoint_keeps_its_stream_and_its_events(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE", count=2)
        one, other = await client.take(2)
        await client.ack(one)
        await stage.turn(endpoint, "pause")
        await client.ack(other)  # answers to what is out are heard
        assert len(await stage.attempts(endpoint, 2)) == 2
        sent = await stage.publish("PGAE", count=3)
        assert await stage.left(endpoint) == 3
        assert await client.nothing_comes()
        await stage.turn(endpoint, "resume")
        assert identities(await client.take(3)) == sent


async def test_an_endpoint_that_is_removed_or_disabled_closes_its_streams(stage: Stage) -> None:
    removed, disabled = await stage.endpoint("PGAE"), await stage.endpoint("PGAE", mode="claim")
    async with stage.stream(removed, "PGAE") as one, stage.stream(disabled, "PGAE") as other:
        await stage.opened(2)
        await stage.turn(removed, "remove")
        await stage.turn(disabled, "disable")
        assert await one.closed() == CloseCode.NO_STREAM
        assert await other.closed() == CloseCode.DISABLED


async def test_a_change_counts_for_what_comes_after_it(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        [inline] = await client.take()
        assert inline.body is not None
        await stage.change(endpoint, mode="claim")

        async def by_reference() -> bool:
            await stage.publish("PGAE")
            [delivery] = await client.take()
            await client.ack(delivery)
            return delivery.dataref is not None

        await eventually(by_reference)


async def test_a_new_generation_of_the_queue_loses_nothing(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE", prefetch=2) as client:
        sent = await stage.publish("PGAE", count=6)
        first = await client.take(2)
        newer = await stage.change(endpoint, ordered=True)
        assert newer.generation == 2
        sent += await stage.publish("PGAE", count=2)
        await client.ack(*first)
        while set(identities(client.got)) != set(sent):
            await client.ack(*await client.take())
        await stage.attempts(endpoint, 8)
    assert await stage.left(endpoint) == 0
    assert await stage.left(newer) == 0


async def test_a_portal_that_stops_waits_for_answers_and_hands_back_the_rest(
    stream_settings: Settings, tmp_path: Path
) -> None:
    async with open_stage(stream_settings, tmp_path) as stage:
        stage.participant("PGAE")
        endpoint = await stage.endpoint("PGAE")
        async with stage.stream(endpoint, "PGAE", prefetch=3) as client:
            await stage.publish("PGAE", count=5)
            taken = await client.take(3)
            stage.services.stopping.set()
            assert await client.nothing_comes()
            await client.ack(*taken)
            assert await client.closed() == CloseCode.STOPPING
            assert len(client.got) == 3
        assert len(await stage.attempts(endpoint, 3)) == 3
        assert await stage.left(endpoint) == 2
        async with stage.stream(endpoint, "PGAE") as late:
            assert await late.closed() == CloseCode.STOPPING


async def test_a_killed_portal_loses_nothing_and_another_goes_on(
    stage: Stage, stream_settings: Settings
) -> None:
    endpoint = await stage.endpoint("PGAE")
    sent = await stage.publish("PGAE", count=60)
    async with (
        portal_process(stage, stream_settings) as (process, url),
        stage.stream(endpoint, "PGAE", prefetch=16, url=url) as client,
    ):
        acked = await client.take(16)
        await client.ack(*acked)
        out = await client.take(8)
        process.send_signal(signal.SIGKILL)
        await client.closed()
    async with stage.stream(endpoint, "PGAE", prefetch=16) as successor:
        while not set(identities(out)) <= set(identities(successor.got)):
            await successor.ack(*await successor.take())
        while set(identities(acked + successor.got)) != set(sent):
            await successor.ack(*await successor.take())
        recorded = await stage.attempts(endpoint, len(sent))
    assert {row.verdict for row in recorded} == {"delivered"}
    assert {row.message_id for row in recorded} == set(sent)
    assert await stage.left(endpoint) == 0


async def test_two_portals_share_an_endpoint_and_each_event_comes_once(
    stage: Stage, stream_settings: Settings
) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with (
        portal_process(stage, stream_settings) as (process, url),
        stage.stream(endpoint, "PGAE", prefetch=8) as here,
        stage.stream(endpoint, "PGAE", prefetch=8, url=url) as there,
    ):
        answering = [asyncio.create_task(client.ack_all()) for client in (here, there)]
        sent = await stage.publish("PGAE", count=100)
        await stage.attempts(endpoint, 100)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        here.cut()
        await asyncio.gather(*answering)
    assert sorted(identities(here.got + there.got)) == sorted(sent)
    assert here.got
    assert there.got


async def test_a_lost_connection_to_rabbitmq_repeats_what_was_unacked(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        sent = await stage.publish("PGAE", count=3)
        before = await client.take(3)
        stage.services.consuming.abandon("a test")
        after = await client.take(3)
        await client.ack(*before)  # heard, and ignored
        assert sorted(identities(after)) == sorted(sent)
        await client.ack(*after)
        assert len(await stage.attempts(endpoint, 3)) == 3
    assert await stage.left(endpoint) == 0


async def test_without_the_database_nothing_more_is_sent(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        with stage.locked_database():
            await client.ack(*await client.take())
            await eventually(lambda: not stage.services.streams._supply.recorder.available)
            await stage.redeliver(endpoint, stage.event("PGAE"))
            assert await client.nothing_comes()
        await client.ack(*await client.take())
        await stage.attempts(endpoint, 2)
    assert await stage.left(endpoint) == 0


async def test_an_ack_that_is_not_recorded_does_not_count(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row comes before the AMQP ack: a crash between repeats the event and loses nothing."""
    monkeypatch.setattr(stream_connection, "ANSWERS_WITHIN", 0.5)
    endpoint = await stage.endpoint("PGAE")
    with stage.locked_database():
        async with stage.stream(endpoint, "PGAE") as client:
            await stage.publish("PGAE")
            await client.ack(*await client.take())
            await client.socket.close()
        assert await stage.left(endpoint) == 1


async def test_an_ordered_retry_that_is_broken_off_hurts_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is written once the database is back, when nobody waits for it any more."""
    monkeypatch.setattr(stream_connection, "ANSWERS_WITHIN", 0.2)
    endpoint = await stage.endpoint("PGAE", ordered=True)
    with stage.locked_database():
        async with stage.stream(endpoint, "PGAE") as client:
            await stage.publish("PGAE")
            [delivery] = await client.take()
            await client.nack(delivery, "no")
            await client.socket.close()
        assert await stage.left(endpoint) == 1
    async with stage.stream(endpoint, "PGAE") as successor:
        await successor.ack(*await successor.take())
        rows = await stage.attempts(endpoint, 2)
    assert [row.verdict for row in rows] == ["failed", "delivered"]
    assert await stage.left(endpoint) == 0


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    yield redis
    redis.kill()


@pytest.fixture
def with_private_redis(stream_settings: Settings, private_redis: PrivateRedis) -> Settings:
    return stream_settings.model_copy(update={"redis_url": private_redis.url, "redeem_cache": 0})


async def test_without_redis_a_stream_waits_and_goes_on(
    with_private_redis: Settings, private_redis: PrivateRedis, tmp_path: Path
) -> None:
    async with open_stage(with_private_redis, tmp_path) as stage:
        stage.participant("PGAE")
        endpoint = await stage.endpoint("PGAE")
        sent = await stage.publish("PGAE", count=3)
        private_redis.kill()
        async with stage.stream(endpoint, "PGAE") as client:
            assert await client.nothing_comes()
            private_redis.start()
            taken = await client.take(3)
            await client.ack(*taken)
            rows = await stage.attempts(endpoint, 3)
        assert sorted(identities(taken)) == sorted(sent)
        assert {(row.verdict, row.attempt) for row in rows} == {("delivered", 1)}


async def test_a_stream_is_closed_when_redis_is_away_for_long(
    with_private_redis: Settings,
    private_redis: PrivateRedis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_connection, "PATIENCE", 1.0)
    async with open_stage(with_private_redis, tmp_path) as stage:
        stage.participant("PGAE")
        endpoint = await stage.endpoint("PGAE")
        await stage.publish("PGAE")
        private_redis.kill()
        async with stage.stream(endpoint, "PGAE") as client:
            assert await client.closed() == CloseCode.UNAVAILABLE
        assert await stage.left(endpoint) == 1
        private_redis.start()
        private_redis.wait()


async def test_a_stream_waits_for_a_queue_that_is_not_there_yet(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE", provisioned=False)
    async with stage.stream(endpoint, "PGAE") as client:
        assert await client.nothing_comes()
        await stage.provision(endpoint)
        await stage.publish("PGAE")
        await client.take()


async def test_a_queue_that_is_just_being_made_is_left_alone(stage: Stage) -> None:
    """RabbitMQ 3.10.8 now and then closes the whole connection of whoever consumes one (541)."""
    endpoint = await stage.endpoint("PGAE", provisioned=False)
    consuming = stage.services.consuming
    async with await consuming.channel() as channel, stage.stream(endpoint, "PGAE") as client:
        queue = await topology.declare_endpoint(channel, endpoint.id, endpoint.generation, ordered=False)

        async def is_consumed() -> bool:
            return bool((await channel.count(queue)).consumers)

        assert await client.nothing_comes(within=1.5)
        assert not await is_consumed()
        await stage.provision(endpoint)
        await eventually(is_consumed)
        await stage.publish("PGAE")
        await client.take()


async def test_what_is_not_answered_for_long_goes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_connection, "UNANSWERED_AT_MOST", 0.5)
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        assert await client.closed() == CloseCode.UNANSWERED
    assert await stage.left(endpoint) == 1


async def test_what_waits_behind_a_slow_reader_goes_to_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_connection, "WAITING_AT_MOST", 0.5)
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE", prefetch=2) as slow:
        sent = await stage.publish("PGAE", count=6)
        held = await slow.take(2)
        async with stage.stream(endpoint, "PGAE", prefetch=2) as quick:
            for _ in range(4):
                await quick.ack(*await quick.take())
            await slow.ack(*held)
            await stage.attempts(endpoint, 6)
        assert sorted(identities(slow.got + quick.got)) == sorted(sent)


async def test_an_ordered_delivery_that_waits_for_long_is_taken_up_again(
    stream_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pause goes on where it was, and RabbitMQ never sees it unacked for half an hour."""
    taken_up: list[Source] = []
    close = Source.close

    async def close_once(source: Source) -> None:
        monkeypatch.setattr(stream_connection, "UNACKED_AT_MOST", 60.0)
        taken_up.append(source)
        await close(source)

    settings = stream_settings.model_copy(update={"retry_ladder": "3s"})  # longer than between two checks
    async with open_stage(settings, tmp_path) as stage:
        stage.participant("PGAE")
        endpoint = await stage.endpoint("PGAE", ordered=True)
        async with stage.stream(endpoint, "PGAE") as client:
            await stage.publish("PGAE")
            [delivery] = await client.take()
            await client.nack(delivery, "no")
            await stage.attempts(endpoint, 1)
            monkeypatch.setattr(Source, "close", close_once)
            monkeypatch.setattr(stream_connection, "UNACKED_AT_MOST", 0.2)  # nothing is out meanwhile
            [again] = await client.take()
            assert taken_up
            assert (again.message_id, again.attempt) == (delivery.message_id, 2)
            await client.ack(again)
            assert len(await stage.attempts(endpoint, 2)) == 2


async def test_a_delivery_that_we_stumble_over_comes_again_and_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await stage.endpoint("PGAE")
    stumbled: list[int] = []

    def stumble_once(number: int, *rest: Any, **named: Any) -> bytes:  # noqa: ANN401 - what it is given
        if not stumbled:
            stumbled.append(number)
            raise RuntimeError("a mistake of ours")
        return frame_of(number, *rest, **named)

    monkeypatch.setattr(stream_window, "frame_of", stumble_once)
    async with stage.stream(endpoint, "PGAE") as client:
        first, *others = await stage.publish("PGAE", count=3)
        await client.ack(*await client.take(3))
    assert stumbled
    assert identities(client.got) == [*others, first]


async def test_a_slow_reader_costs_a_bounded_amount_of_memory(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    body = noise(MAX_BODY)
    events = [stage.event("PGAE", body=body) for _ in range(60)]
    await stage.producer.publish_many(events, fresh=True)
    async with stage.stream(endpoint, "PGAE", prefetch=256, reads_at_most=1) as client:
        sent = stage.services.registry.get_sample_value
        await eventually(lambda: (sent("claimbus_unanswered_deliveries") or 0) > 1)
        await never(lambda: (sent("claimbus_unanswered_deliveries") or 0) > len(events) - 10)
        for _ in events:
            await client.ack(*await client.take())
        await stage.attempts(endpoint, len(events))
    assert sorted(identities(client.got)) == sorted(event.identity for event in events)


async def test_many_clients_that_come_and_go_at_once_hurt_nobody(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    stage.participant("SCE1")
    calm = await stage.endpoint("SCE1")
    async with stage.stream(calm, "SCE1") as client:
        sent = await stage.publish("SCE1")
        taken = await client.take()
        for _ in range(10):
            async with stage.stream(endpoint, "PGAE"):
                pass
        await client.ack(*taken)
        assert len(await stage.attempts(calm, 1)) == 1
        assert await client.nothing_comes()  # its deliveries were never void
    assert identities(client.got) == sent


async def test_a_peer_that_is_dead_is_noticed(
    stream_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.events.stream.PING_INTERVAL", 2.0)
    monkeypatch.setattr("claimbus.events.stream.PING_TIMEOUT", 2.0)
    async with open_stage(stream_settings, tmp_path) as stage:
        stage.participant("PGAE")
        endpoint = await stage.endpoint("PGAE")
        [sent] = await stage.publish("PGAE")
        async with stage.stream(endpoint, "PGAE") as dead:
            await dead.take()
            dead.socket.transport.pause_reading()
            async with stage.stream(endpoint, "PGAE") as alive:
                [delivery] = await alive.take()
                assert delivery.message_id == sent
