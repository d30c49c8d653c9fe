"""Recovering an endpoint: exactly what it did not get comes again, and only what its participant may see."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.broker import journal
from claimbus.broker.errors import BrokerUnavailableError
from claimbus.database import audit, endpoints, participants
from claimbus.database.audit import Entry
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import NotFoundError
from claimbus.deadletters import bodies
from claimbus.deadletters.recover import Recovered, Recovery
from claimbus.events.errors import InvalidInputError
from claimstore.store import ClaimStore
from tests.consumers.house import ACT, House
from tests.deadletters.tickets import ago, ids, keep, publish, take
from tests.waiting import eventually

HOUR = timedelta(hours=1)
LIFE = timedelta(days=7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for more entries at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)


@pytest.fixture
def recovery(house: House) -> Recovery:
    return Recovery(house.database, house.store, house.connection, house.publisher, claim_life=LIFE)


async def recover(recovery: Recovery, endpoint: Endpoint, **asked: object) -> Recovered:
    """Recover what was published within the hour, as fast as it goes."""
    chosen: dict[str, object] = {"since": ago(hours=1), "rate": None, "act": ACT} | asked
    return await recovery.run(endpoint.id, **chosen)  # type: ignore[arg-type]  # the arguments' types differ


def told(house: House, endpoint: Endpoint) -> list[Entry]:
    """What the audit says of the endpoint's recoveries, oldest first."""
    with house.database.snapshot() as sql:
        found = audit.find(sql, kind="endpoint", object_id=endpoint.id).rows
    return [entry for entry in reversed(found) if entry.action.startswith("recover")]


async def test_an_endpoint_that_lost_a_day_gets_exactly_what_was_not_delivered(
    house: House, recovery: Recovery
) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", "market.#")
    await house.worker()
    delivered = await house.publish(count=7)
    await eventually(lambda: house.attempts_when(endpoint, 7))
    await house.stop_workers()
    lost = await house.publish(count=5)
    await take(house, endpoint, 5)
    recovered = await recover(recovery, endpoint)
    assert (recovered.read, recovered.concerning, recovered.settled) == (12, 12, 7)
    assert (recovered.redelivered, recovered.not_entitled, recovered.gone) == (5, 0, 0)
    await house.worker()
    await eventually(lambda: len(receiver.received) == 12)
    again = receiver.received[7:]
    assert {request.header("webhook-id") for request in again} == set(lost)
    assert {request.header("claimbus-replay") for request in again} == {recovered.replay}
    assert (await recover(recovery, endpoint)).redelivered == 0
    everything = await recover(recovery, endpoint, everything=True)
    assert (everything.settled, everything.redelivered) == (12, 12)
    await eventually(lambda: len(receiver.received) == 24)
    assert {request.header("webhook-id") for request in receiver.received[12:]} == {*delivered, *lost}


async def test_what_is_for_others_is_never_delivered(house: House, recovery: Recovery) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    endpoint, _ = await house.endpoint("BBB1", "#")
    await house.publish("AAA1", count=3)
    mine = await house.publish("BBB1") + await house.publish("AAA1", "BBB1") + await house.publish()
    await take(house, endpoint, 3)
    for everything in (False, True):
        recovered = await recover(recovery, endpoint, everything=everything)
        assert (recovered.concerning, recovered.not_entitled, recovered.redelivered) == (6, 3, 3)
        assert set(ids(await take(house, endpoint, 3))) == set(mine)


async def test_only_what_is_subscribed_and_open_now_comes(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", "market.dam.opened")
    (notice,) = await house.publish(type_="system.notice.published")
    (closed,) = await house.publish(type_="market.dam.closed")
    (opened,) = await house.publish(type_="market.dam.opened")
    await take(house, endpoint, 1)
    with house.database.transaction() as sql:
        endpoints.subscribe(sql, endpoint.id, ["#"], ACT)
        participants.open_event_types(sql, "AAA1", ("market.#",), ACT)
    recovered = await recover(recovery, endpoint)
    assert (recovered.read, recovered.concerning, recovered.redelivered) == (3, 2, 2)
    assert ids(await take(house, endpoint, 2)) == [closed, opened]
    recovered = await recover(recovery, endpoint, type_pattern="*.dam.opened")
    assert (recovered.read, recovered.concerning) == (3, 1)
    assert ids(await take(house, endpoint, 1)) == [opened]
    with house.database.transaction() as sql:
        participants.open_event_types(sql, "AAA1", ("system.#",), ACT)
        endpoints.unsubscribe(sql, endpoint.id, ["#"], ACT)
        endpoints.subscribe(sql, endpoint.id, ["system.#"], ACT)
    await recover(recovery, endpoint)
    assert ids(await take(house, endpoint, 1)) == [notice]


async def test_the_period_begins_and_ends_in_the_seconds_asked_for(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    since, until = ago(seconds=200), ago(seconds=100)
    moments = [
        since.timestamp() - 2,
        since.timestamp(),
        until.timestamp() - 1,
        until.timestamp() + 1,
        86_400,  # no clock that works: it counts as published in the period
    ]
    sent = [await publish(house, house.event(), at=moment - time.time()) for moment in moments]
    await take(house, endpoint, 5)
    recovered = await recover(recovery, endpoint, since=since, until=until)
    assert (recovered.read, recovered.redelivered) == (3, 3)
    assert ids(await take(house, endpoint, 3)) == ids([sent[1], sent[2], sent[4]])


async def test_what_comes_again_is_a_new_delivery_of_the_same_event(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    before = await publish(house, house.event(), at=-300)
    await take(house, endpoint, 1)
    recovered = await recover(recovery, endpoint)
    (after,) = await take(house, endpoint, 1)
    assert after.released is not None
    assert abs(after.released - time.time()) < 60
    assert after == replace(before, endpoint=endpoint.id, released=after.released, replay=recovered.replay)
    assert len(recovered.replay) == len("rc_") + 16


async def test_an_ordered_endpoint_gets_them_in_the_order_in_which_they_were_published(
    house: House, recovery: Recovery
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", ordered=True)
    sent = [await publish(house, house.event()) for _ in range(30)]
    await take(house, endpoint, 30)
    await recover(recovery, endpoint)
    assert ids(await take(house, endpoint, 30)) == ids(sent)


async def test_an_event_that_was_published_twice_comes_once(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    event = house.event()
    await publish(house, event)
    later = await publish(house, event)
    await take(house, endpoint, 2)
    recovered = await recover(recovery, endpoint)
    assert (recovered.read, recovered.concerning, recovered.redelivered) == (2, 1, 1)
    assert [one.claim_id for one in await take(house, endpoint, 1)] == [later.claim_id]


async def test_a_dry_run_counts_and_sends_nothing(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish(count=4)
    await take(house, endpoint, 4)
    for _ in range(2):
        counted = await recover(recovery, endpoint, dry_run=True)
        assert (counted.redelivered, counted.waiting) == (4, 0)
    assert told(house, endpoint) == []


async def test_a_recovery_is_in_the_audit_with_its_figures(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish(count=2)
    recovered = await recover(recovery, endpoint)
    begun, ended = told(house, endpoint)
    assert (begun.action, ended.action, ended.actor) == ("recovery begun", "recovered", "tests")
    assert begun.after is not None
    assert begun.after["replay"] == recovered.replay
    assert ended.after == recovered.counts()


async def test_one_that_breaks_off_is_in_the_audit_with_what_was_sent(
    house: House, recovery: Recovery
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    sent = await house.publish(count=5)
    await take(house, endpoint, 5)
    slow = asyncio.create_task(recover(recovery, endpoint, rate=0.001))
    assert ids(await take(house, endpoint, 1)) == sent[:1], "the rate keeps the others back"
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    ended = told(house, endpoint)[-1]
    assert ended.after is not None
    assert (ended.action, ended.after["redelivered"]) == ("recovered", 1)


async def test_without_rabbitmq_it_breaks_off_and_may_be_repeated(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    sent = await house.publish(count=20)
    await take(house, endpoint, 20)
    closed = await house.wiring.publisher("closed")
    await closed.aclose()
    broken = Recovery(house.database, house.store, house.connection, closed, claim_life=LIFE)
    with pytest.raises(BrokerUnavailableError, match="the publisher is closed"):
        await recover(broken, endpoint)
    assert [entry.action for entry in told(house, endpoint)] == ["recovery begun", "recovered"]
    assert (await recover(recovery, endpoint)).redelivered == 20
    assert set(ids(await take(house, endpoint, 20))) == set(sent)


async def test_it_tells_what_waits_already_and_where_the_endpoint_stands(
    house: House, recovery: Recovery
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish(count=3)
    first = await recover(recovery, endpoint)
    assert (first.waiting, first.endpoint_state, first.redelivered) == (3, "active", 3)
    for _ in range(5):
        await house.holds.failed(endpoint.id)
    second = await recover(recovery, endpoint)
    assert (second.waiting, second.endpoint_state) == (6, "held")
    with house.database.transaction() as sql:
        endpoints.pause(sql, endpoint.id, ACT)
    third = await recover(recovery, endpoint)
    assert (third.waiting, third.endpoint_state, third.redelivered) == (9, "paused", 3)


async def test_a_claim_is_made_to_outlive_its_delivery(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", age_limit_s=3600)
    short = ClaimStore(house.store.connection, life=HOUR)
    long = ClaimStore(house.store.connection, life=2 * HOUR + timedelta(seconds=bodies.MARGIN))
    first = await publish(house, house.event(), store=short)
    second = await publish(house, house.event(), store=long)
    await recover(recovery, endpoint)
    prolonged, kept_as_it_is = (await take(house, endpoint, 4))[2:]
    assert prolonged.expires > first.expires + 6 * 24 * 3600
    assert kept_as_it_is.expires == second.expires
    for ticket in (prolonged, kept_as_it_is):
        stat = await house.store.stat(ticket.claim_id)
        assert stat is not None
        assert stat.expires == ticket.expires


async def test_a_claim_that_is_gone_comes_back_from_a_dead_letter(house: House, recovery: Recovery) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    endpoint, _ = await house.endpoint("AAA1")
    tickets = [await publish(house, house.event(*to)) for to in (("AAA1",), ("AAA1", "BBB1"), ("BBB1",))]
    await publish(house, house.event("AAA1"))
    await take(house, endpoint, 3)
    for ticket in tickets:
        await keep(house, ticket)
    await house.delete_claims()
    counted = await recover(recovery, endpoint, dry_run=True)
    assert (counted.redelivered, counted.not_entitled, counted.gone) == (2, 1, 1)
    recovered = await recover(recovery, endpoint)
    assert (recovered.redelivered, recovered.not_entitled, recovered.gone) == (2, 1, 1)
    again = await take(house, endpoint, 2)
    assert ids(again) == ids(tickets[:2])
    for ticket in again:
        claim = await house.store.redeem(ticket.claim_id, expires=ticket.expires)
        assert claim.event.identity == ticket.message_id


async def test_it_tells_how_far_it_is(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    await house.publish(count=700)
    progress: list[tuple[int, int]] = []
    recovered = await recover(
        recovery, endpoint, on_progress=lambda read, total: progress.append((read, total))
    )
    assert progress == [(500, 700), (700, 700)]
    assert recovered.redelivered == 700
    assert (await recover(recovery, endpoint, dry_run=True)).waiting == 1400


async def test_an_endpoint_that_there_is_not_is_not_recovered(house: House, recovery: Recovery) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    with pytest.raises(NotFoundError, match="there is no endpoint 'ep_unknown'"):
        await recovery.run("ep_unknown", ago(hours=1), act=ACT)
    with house.database.transaction() as sql:
        endpoints.remove(sql, endpoint.id, ACT)
    with pytest.raises(NotFoundError, match="was removed"):
        await recover(recovery, endpoint)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": datetime(2026, 1, 1)}, "since"),  # noqa: DTZ001 - that it is naive is the point
        ({"until": datetime(2026, 1, 1, tzinfo=UTC)}, "until"),
        ({"type_pattern": "no.such.domain"}, "type"),
        ({"rate": 0.0}, "rate"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_name(
    house: House, recovery: Recovery, asked: dict[str, object], field: str
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    with pytest.raises(InvalidInputError) as refused:
        await recover(recovery, endpoint, **asked)
    assert refused.value.field == field
