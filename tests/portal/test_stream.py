"""A stream gives a participant its endpoint's events, and what is answered is recorded, then acked."""

import asyncio

import pytest

from claimbus.broker import frames
from claimbus.broker.frames import Message
from claimbus.broker.topology import REDELIVER
from claimbus.events.stream import MAX_BODY
from consumers.tasks import Tasks
from tests.claimstore.samples import noise
from tests.portal.streams import Stage, identities, stage, stream_settings
from tests.waiting import eventually, never

__all__ = ["stage", "stream_settings"]


async def test_what_is_acked_is_recorded_and_gone(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        sent = await stage.publish("PGAE", count=50)
        for _ in sent:
            await client.ack(*await client.take())
        rows = await stage.attempts(endpoint, 50)
    assert sorted(identities(client.got)) == sorted(sent)
    assert {(row.verdict, row.next, row.attempt) for row in rows} == {("delivered", "ack", 1)}
    assert {row.message_id for row in rows} == set(sent)
    assert await stage.left(endpoint) == 0


async def test_a_frame_holds_the_event(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    stage.participant("SCE1")
    event = stage.event("PGAE", "SCE1")
    await stage.producer.publish(event, fresh=True)
    async with stage.stream(endpoint, "PGAE") as client:
        [delivery] = await client.take()
    assert (delivery.message_id, delivery.body) == (event.identity, event.body)
    assert (delivery.attempt, delivery.replay, delivery.dataref) == (1, None, None)
    assert event.attributes().items() <= delivery.event.items()
    assert "SCE1" not in str(delivery)


async def test_no_more_than_the_prefetch_is_unanswered(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE", count=10)
    async with stage.stream(endpoint, "PGAE", prefetch=3) as client:
        first = await client.take(3)
        assert await client.nothing_comes()
        await client.ack(first[1])
        await client.take(1)
        assert await client.nothing_comes()


async def test_a_full_window_rests(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tickets wait behind it; nobody looks in vain whether there is a place now."""
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE", count=10)
    async with stage.stream(endpoint, "PGAE", prefetch=3) as client:
        await client.take(3)
        started: list[object] = []
        monkeypatch.setattr(Tasks, "spawn", lambda _, coroutine: started.append(coroutine))
        await never(lambda: started)
        monkeypatch.undo()


async def test_a_cut_connection_gives_back_what_is_unanswered_uncounted(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    sent = await stage.publish("PGAE", count=5)
    async with stage.stream(endpoint, "PGAE") as client:
        first, second, *_ = await client.take(5)
        await client.ack(first, second)
        await stage.attempts(endpoint, 2)
    async with stage.stream(endpoint, "PGAE") as again:
        rest = await again.take(3)
        assert sorted(identities(rest)) == sorted(set(sent) - set(identities([first, second])))
        assert {delivery.attempt for delivery in rest} == {1}
        await again.ack(*rest)
        assert len(await stage.attempts(endpoint, 5)) == 5
    assert await stage.left(endpoint) == 0


async def test_acks_just_before_the_cut_count(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE", count=20)
    async with stage.stream(endpoint, "PGAE") as client:
        await client.ack(*await client.take(20))
        await client.socket.close()
    await stage.attempts(endpoint, 20)
    assert await stage.left(endpoint) == 0


async def test_a_nack_takes_the_ladder(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    [sent] = await stage.publish("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        for attempt in (1, 2, 3):
            [delivery] = await client.take()
            assert (delivery.message_id, delivery.attempt) == (sent, attempt)
            await client.nack(delivery, f"no disk {attempt}")
        rows = await stage.attempts(endpoint, 3)
    told = [(row.verdict, row.detail, row.next, row.attempt) for row in rows]
    assert told == [
        ("failed", "no disk 1", "retry in 0.3 s", 1),
        ("failed", "no disk 2", "retry in 0.6 s", 2),
        ("failed", "no disk 3", "dead letter: attempts exhausted", 3),
    ]
    [letter] = await stage.letters(1)
    assert (letter.endpoint, letter.attempts, letter.detail) == (endpoint.id, 3, "no disk 3")
    assert await stage.left(endpoint) == 0


async def test_two_connections_share_an_endpoint(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with (
        stage.stream(endpoint, "PGAE", prefetch=4) as one,
        stage.stream(endpoint, "PGAE", prefetch=4) as other,
    ):
        answering = [asyncio.create_task(client.ack_all()) for client in (one, other)]
        sent = await stage.publish("PGAE", count=100)
        await stage.attempts(endpoint, 100)
        one.cut()
        other.cut()
        await asyncio.gather(*answering)
    assert sorted(identities(one.got + other.got)) == sorted(sent)
    assert one.got
    assert other.got


async def test_an_ordered_endpoint_is_given_one_at_a_time_and_retried_in_place(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE", ordered=True)
    sent = await stage.publish("PGAE", count=3)
    async with stage.stream(endpoint, "PGAE", prefetch=32) as client:
        [first] = await client.take()
        assert await client.nothing_comes()
        await client.nack(first, "not now")
        [again] = await client.take()
        assert (again.message_id, again.attempt) == (first.message_id, 2)
    async with stage.stream(endpoint, "PGAE") as successor:
        for identity in sent:
            [delivery] = await successor.take()
            assert delivery.message_id == identity
            assert delivery.attempt == (2 if identity == first.message_id else 1)
            await successor.ack(delivery)
        await stage.attempts(endpoint, 4)
    assert await stage.left(endpoint) == 0


async def test_a_status_is_superseded_by_a_newer_one_that_was_acked(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE", latest_only=True)
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish_status(7, "PGAE")
        await client.ack(*await client.take())
        await stage.attempts(endpoint, 1)
        await stage.publish_status(6, "PGAE")
        rows = await stage.attempts(endpoint, 2)
        assert await client.nothing_comes()
    assert [row.verdict for row in rows] == ["delivered", "superseded"]


async def test_what_is_not_for_the_participant_is_a_dead_letter_and_never_sent(stage: Stage) -> None:
    """Should a binding be wrong, or a redelivery: the audience that is sealed in the claim decides."""
    endpoint = await stage.endpoint("PGAE")
    stage.participant("SCE1")
    await stage.redeliver(endpoint, stage.event("SCE1"))
    async with stage.stream(endpoint, "PGAE") as client:
        [row] = await stage.attempts(endpoint, 1)
        assert await client.nothing_comes()
    assert row.verdict == "not entitled"
    [letter] = await stage.letters(1)
    assert letter.cause == "not entitled"


async def test_an_undecodable_ticket_is_a_dead_letter(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    encoded = frames.properties(content_type="application/octet-stream", headers={})
    await stage.services.publisher.publish(Message(REDELIVER, endpoint.id, encoded, b"\xff"))
    async with stage.stream(endpoint, "PGAE"):
        [letter] = await stage.letters(1)
    assert (letter.cause, letter.body) == ("undecodable", b"\xff")


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
async def test_a_large_body_is_fetched_by_its_dataref(stage: Stage, size: int) -> None:
    endpoint = await stage.endpoint("PGAE")
    body = noise(size)
    await stage.producer.publish(stage.event("PGAE", body=body), fresh=True)
    async with stage.stream(endpoint, "PGAE") as client:
        [delivery] = await client.take()
        if size <= MAX_BODY:
            assert (delivery.body, delivery.dataref) == (body, None)
            return
        assert delivery.dataref is not None
        got = await stage.portal.get(delivery.dataref, token=stage.portal.token_of("PGAE"))
    assert got.body == body
    handed = await stage.services.handed.to(delivery.dataref.rpartition("/")[2])
    assert handed == {"PGAE"}


async def test_claim_mode_sends_no_body(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE", mode="claim")
    event = stage.event("PGAE")
    await stage.producer.publish(event, fresh=True)
    async with stage.stream(endpoint, "PGAE") as client:
        [delivery] = await client.take()
        assert delivery.body is None
        assert delivery.dataref is not None
        got = await stage.portal.get(delivery.dataref, token=stage.portal.token_of("PGAE"))
    assert got.body == event.body


async def test_the_portal_counts_its_streams_and_their_deliveries(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE", count=3)
    async with stage.stream(endpoint, "PGAE") as client:
        one, other, third = await client.take(3)
        await client.ack(one, other)
        await client.nack(third, "no")
        await stage.attempts(endpoint, 3)
        value = stage.services.registry.get_sample_value
        assert value("claimbus_open_streams") == 1
        assert value("claimbus_attempts_total", {"verdict": "delivered"}) == 2
        assert value("claimbus_attempts_total", {"verdict": "failed"}) == 1
    await eventually(lambda: value("claimbus_open_streams") == 0)
