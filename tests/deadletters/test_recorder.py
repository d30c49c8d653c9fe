"""From the queue into the database: each kind of letter, each with its body."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from claimbus.broker import frames, topology
from claimbus.broker.codec import Letter
from claimbus.broker.consumer import Consumer
from claimbus.broker.frames import Message
from claimbus.cli.settings import Settings
from claimbus.database import endpoints, kept
from claimbus.database.endpoint import Endpoint
from claimbus.deadletters import recorder
from tests.consumers.house import ACT, House, open_house
from tests.deadletters.backlog import (
    CHUNKED,
    give_up,
    kept_body,
    letter,
    publish,
    recorded,
    recording,
    waits,
)
from tests.waiting import eventually


async def test_a_letter_is_recorded_with_its_body_and_all_that_is_known(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    event = replace(house.event(type_="oms.resource-outage.changed"), partitionkey="7", sequence=3)
    given_up = await letter(house, endpoint.id, event)
    assert given_up.ticket is not None
    ticket = replace(given_up.ticket, partitionkey="7", sequence=3, traceparent="00-1", attempt=2)
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    await publish(house, replace(given_up, ticket=ticket))
    async with recording(house) as counted:
        (row,) = await eventually(lambda: recorded(house, at_least=1))
        await eventually(lambda: counted("letters_recorded_total") == 1)
    assert (row.state, row.cause, row.status, row.detail, row.attempts) == (
        *("dead", "rejected", 422, "answered 422"),
        3,
    )
    assert (row.endpoint_id, row.participant_id) == (endpoint.id, "AAA1")
    assert (row.message_id, row.type, row.claim_id) == (event.identity, event.type, ticket.claim_id)
    assert (row.timestamp, row.expires) == (ticket.timestamp, ticket.expires)
    assert (row.partitionkey, row.sequence, row.traceparent) == ("7", 3, "00-1")
    assert began <= row.died_at <= datetime.now(UTC)
    assert await kept_body(house, row.claim_id) == event.body
    assert await waits(house, 0)


async def test_a_letter_that_says_when_it_died_is_believed_unless_that_is_in_the_future(house: House) -> None:
    now = int(datetime.now(UTC).timestamp())
    given_up = [await letter(house, "ep_1", house.event()) for _ in range(2)]
    await publish(
        house, *(replace(one, died=when) for one, when in zip(given_up, (now - 60, now + 3600), strict=True))
    )
    async with recording(house):
        rows = await eventually(lambda: recorded(house, at_least=2))
    died = sorted(row.died_at.timestamp() for row in rows)
    assert died[0] == now - 60
    assert now <= died[1] < now + 3600


async def test_a_body_in_chunks_is_kept_whole(house: House) -> None:
    (given_up,) = await give_up(house, body=CHUNKED)
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=1))
    assert await kept_body(house, given_up.body.decode()) == CHUNKED


async def test_the_participant_of_a_removed_endpoint_is_known_and_that_of_a_strange_one_is_not(
    house: House,
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.database.run(lambda sql: endpoints.remove(sql, endpoint.id, ACT))
    await give_up(house, endpoint.id)
    await give_up(house, "ep_never_seen")
    await give_up(house, None)
    async with recording(house):
        rows = await eventually(lambda: recorded(house, at_least=3))
    assert {(row.endpoint_id, row.participant_id) for row in rows} == {
        (endpoint.id, "AAA1"),
        ("ep_never_seen", None),
        (None, None),
    }


async def test_what_expires_in_an_endpoints_queue_is_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "ENDPOINT_TTL", timedelta(milliseconds=100))
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    (message_id,) = await house.publish()
    async with recording(house):
        (row,) = await eventually(lambda: recorded(house, at_least=1))
    assert (row.cause, row.endpoint_id, row.participant_id) == ("expired", endpoint.id, "AAA1")
    assert (row.message_id, row.attempts, row.status) == (message_id, 0, None)
    assert await kept_body(house, row.claim_id)


async def test_what_came_back_too_often_is_recorded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "_ENDPOINT_DELIVERY_LIMIT", 2)
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish()
    consumer = Consumer(house.connection)
    queue = topology.endpoint_queue(endpoint.id, endpoint.generation)
    await consumer.start(queue, prefetch=1, on_delivery=lambda delivery: delivery.requeue())
    async with recording(house):
        (row,) = await eventually(lambda: recorded(house, at_least=1))
    await consumer.stop()
    assert (row.cause, row.endpoint_id, row.participant_id) == ("delivery-limit", endpoint.id, "AAA1")
    assert await kept_body(house, row.claim_id)


async def test_what_is_redelivered_to_an_endpoint_that_is_gone_is_recorded(house: House) -> None:
    event = house.event()
    ticket = house.ticket(event, await house.store.check_in(event))
    redelivered = replace(ticket, endpoint="ep_gone", released=ticket.timestamp + 5, replay="rp_1", attempt=2)
    await house.publisher.publish_redelivery(redelivered)
    async with recording(house):
        (row,) = await eventually(lambda: recorded(house, at_least=1))
    assert (row.cause, row.endpoint_id, row.attempts) == ("endpoint-gone", "ep_gone", 2)
    assert (row.replay, row.message_id) == ("rp_1", event.identity)
    assert await kept_body(house, row.claim_id) == event.body


async def test_what_is_no_ticket_is_recorded_with_its_bytes(house: House) -> None:
    raw = Letter(
        body=b"\x00\xffno ticket",
        ticket=None,
        endpoint="ep_1",
        cause="undecodable",
        detail="body: is no claim ID",
        attempts=0,
    )
    await publish(house, raw, replace(raw, body=b"another"))
    async with recording(house) as counted:
        rows = await eventually(lambda: recorded(house, at_least=2))
    assert {row.raw for row in rows} == {b"\x00\xffno ticket", b"another"}
    assert {(row.cause, row.claim_id, row.message_id) for row in rows} == {("undecodable", None, None)}
    assert counted("letter_bodies_missing_total") == 0


async def test_the_same_letter_twice_is_one_row(house: House) -> None:
    (given_up,) = await give_up(house)
    assert given_up.ticket is not None
    later = replace(given_up.ticket, released=given_up.ticket.timestamp + 60, replay="rp_1")
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=1))
        await publish(house, given_up, given_up)
        await publish(house, replace(given_up, ticket=later))
        rows = await eventually(lambda: recorded(house, at_least=2))
    assert [row.replay for row in rows] == [None, "rp_1"], (
        "given up again after a replay, it is another letter"
    )


async def test_one_event_given_up_by_many_endpoints_is_read_and_kept_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = house.event()
    first = await letter(house, "ep_0", event)
    await publish(house, *(replace(first, endpoint=f"ep_{number}") for number in range(200)))
    read: list[str] = []
    stored = house.store.stored

    def counting(claim_id: str, *, expires: int) -> AsyncIterator[bytes]:
        read.append(claim_id)
        return stored(claim_id, expires=expires)

    monkeypatch.setattr(house.store, "stored", counting)
    monkeypatch.setattr(recorder, "MAX_BATCH", 60)
    async with recording(house):
        rows = await eventually(lambda: recorded(house, at_least=200))
    assert {row.claim_id for row in rows} == {first.body.decode()}
    assert read == [first.body.decode()]
    one = await house.database.read(lambda sql: kept.get(sql, first.body.decode()))
    assert one is not None
    assert await house.database.read(kept.stored_bytes) == one.stored == len(one.record)


async def test_a_letter_whose_body_is_gone_is_recorded_without_it_and_raises_the_alarm(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    whole, lost, worm, torn = [
        (await give_up(house, endpoint.id, body=body))[0].body.decode()
        for body in (b"{}", b"{}", b"{}", CHUNKED)
    ]
    ask, prefix = house.store.connection.ask, house.store.connection.prefix
    await ask("DEL", f"{prefix}claim:{{{lost}}}")
    await ask("SETRANGE", f"{prefix}claim:{{{worm}}}", 20, "worm")
    await ask("DEL", f"{prefix}claim:{{{torn}}}:3")
    with capture_logs() as logs:
        async with recording(house) as counted:
            rows = await eventually(lambda: recorded(house, at_least=4))
            await eventually(lambda: counted("letter_bodies_missing_total") == 3)
    assert {row.claim_id for row in rows} == {whole, lost, worm, torn}
    assert await house.database.read(lambda sql: kept.has(sql, [whole, lost, worm, torn])) == {whole}
    alarms = {one["claim_id"]: one for one in logs if one["log_level"] == "error"}
    assert alarms.keys() == {lost, worm, torn}
    assert alarms[lost]["endpoint"] == endpoint.id
    assert alarms[lost]["cause"] == "rejected"
    assert "gone before its time" in alarms[lost]["reason"]


async def test_what_strangers_put_into_a_letter_spoils_nothing(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    hostile: list[dict[str, object]] = [
        {"endpoint": "e\0p", "cause": "c\0", "detail": "\0\N{PILE OF POO}", "attempts": 2**63 - 1},
        {"endpoint": "e" * 10_000, "cause": "c" * 10_000, "detail": "d" * 10_000, "status": -(2**63)},
        {"endpoint": 7, "cause": ["a", "b"], "expires": "soon", "replay": "r" * 5000, "attempts": -1},
        {
            "expires": 2**63 - 1,
            "sequence": 2**63 - 1,
            "status": 2**40,
            "endpoint": "ep_1",
            "replay": "r" * 1000,
        },
    ]
    settings = settings.model_copy(update={"database_url": database_url})
    async with open_house(settings, tmp_path) as house, recording(house):
        for number, headers in enumerate(hostile):
            encoded = frames.properties(
                content_type="x", message_id=f"m{number}", type_="t", timestamp=2**64 - 1, headers=headers
            )
            await house.publisher.publish(Message(topology.DEADLETTERS, "", encoded, b"claim"))
        await give_up(house)
        await eventually(lambda: recorded(house, at_least=5))


async def test_an_endpoint_that_was_never_there_is_asked_for_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get(sql: Connection, endpoint_id: str) -> Endpoint:
        asked.append(endpoint_id)
        return looked_up(sql, endpoint_id)

    looked_up = endpoints.get
    monkeypatch.setattr(endpoints, "get", get)
    async with recording(house):
        for number in range(3):
            encoded = frames.properties(
                content_type="x",
                headers={"endpoint": "ep_no"},
            )
            await house.publisher.publish(Message(topology.DEADLETTERS, "", encoded, b"claim%d" % number))
            await eventually(lambda: recorded(house, at_least=number + 1))  # noqa: B023 - at once
    assert asked == ["ep_no"]
