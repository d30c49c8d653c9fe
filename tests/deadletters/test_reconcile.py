"""Reconciling: what should have been delivered, held against what is recorded and what waits."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from claimbus.broker import journal
from claimbus.broker.codec import Letter
from claimbus.broker.topology import DEADLETTERS, Topology, declare, endpoint_queue, parse_ladder
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.settings import Settings
from claimbus.database import attempts, bindings, letters
from claimbus.database.attempts import Attempt
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter, letter_id
from claimbus.deadletters.reconcile import Reconciled, Reconciliation, agrees
from claimbus.deadletters.recover import Recovery
from claimbus.events.errors import InvalidInputError
from claimbus.events.routing import bindings as bindings_of
from claimbus.events.ticket import Ticket
from claimstore.store import ClaimStore
from tests.consumers.house import ACT, House
from tests.deadletters.tickets import ago, ids, keep, publish, take
from tests.waiting import eventually

LIFE = timedelta(days=7)
LONG_AGO = ago(days=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for more entries at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)


@pytest.fixture
def reconciliation(house: House) -> Reconciliation:
    ladder = house.wiring.topology.ladder
    return Reconciliation(house.database, house.store, house.connection, ladder, LIFE)


async def subscribed(
    house: House,
    participant: str,
    pattern: str = "#",
    *,
    since: datetime = LONG_AGO,
    until: float | None = None,
) -> Endpoint:
    """An endpoint without a queue, of which it is noted that it was bound for a time."""
    endpoint, _ = await house.endpoint(participant, pattern, provisioned=False)
    bound = bindings_of(pattern, participant)
    with house.database.transaction() as sql:
        bindings.record_bound(sql, endpoint.id, 1, bound, since)
        if until is not None:
            bindings.record_unbound(sql, endpoint.id, 1, bound, ago(seconds=-until))
    return endpoint


def backdate(house: House) -> None:
    """Have all bindings noted as made a minute earlier: what is published now is then beyond doubt."""
    with house.database.transaction() as sql:
        sql.execute(text("UPDATE bindings SET bound_from = bound_from - 60000"))


def record(house: House, endpoint: Endpoint, ticket: Ticket, verdict: str) -> None:
    """Record an attempt."""
    attempt = Attempt(
        started_ms=int(time.time() * 1000),
        id=attempts.new_id(),
        endpoint_id=endpoint.id,
        message_id=ticket.message_id,
        verdict=verdict,
        participant_id=endpoint.participant_id,
        type=ticket.type,
        claim_id=ticket.claim_id,
        attempt=1,
        status=None,
        duration_ms=1,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="",
        event_id="",
        partitionkey=None,
        sequence=None,
    )
    with house.database.transaction() as sql:
        attempts.record(sql, [attempt])


def bury(house: House, endpoint: Endpoint, ticket: Ticket) -> None:
    """Record a dead letter."""
    now = datetime.now(UTC)
    letter = DeadLetter(
        id=letter_id(endpoint.id, ticket.message_id, ticket.age_begins, None),
        state_at=now,
        died_at=now,
        cause="rejected",
        fingerprint="f",
        detail="",
        attempts=3,
        endpoint_id=endpoint.id,
        message_id=ticket.message_id,
        claim_id=ticket.claim_id,
    )
    with house.database.transaction() as sql:
        letters.record(sql, [letter], [], [])


def opened(found: Reconciled) -> set[tuple[str, str]]:
    return {(one.endpoint_id, one.message_id) for one in found.open}


def ids_of(found: Reconciled) -> list[str]:
    return sorted(one.message_id for one in found.open)


async def test_a_clean_run_is_complete(house: House, reconciliation: Reconciliation) -> None:
    for name in ("AAA1", "BBB1", "CCC1"):
        house.participant(name)
    await house.endpoint("AAA1", "#")
    await house.endpoint("BBB1", "market.#")
    await house.endpoint("CCC1", "oms.#")
    backdate(house)
    await house.worker()
    await house.publish(count=600)
    await house.publish("AAA1", "CCC1", count=5)
    await house.publish("CCC1", count=5)
    found = await reconciliation.run()
    assert found.settled
    assert (found.expected, found.delivered, found.open, found.waiting) == (1205, 1205, (), {})


async def test_deliveries_under_way_are_waited_for(house: House, reconciliation: Reconciliation) -> None:
    house.participant("AAA1")
    await house.endpoint("AAA1", behaviour=Behaviour(kind="slow", seconds=1))
    backdate(house)
    await house.worker()
    await house.publish(count=3)
    found = await reconciliation.run()
    assert (found.settled, found.delivered) == (True, 3)


async def test_exactly_the_deliveries_that_a_queue_lost_are_named_until_they_are_recovered(
    house: House, reconciliation: Reconciliation
) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    await house.endpoint("AAA1")
    unlucky, _ = await house.endpoint("BBB1")
    backdate(house)
    await house.publish(count=5)
    await house.publish("AAA1", "BBB1")
    lost = await take(house, unlucky, 6)
    await house.worker()
    found = await reconciliation.run(within=2)
    assert opened(found) == {(unlucky.id, message_id) for message_id in ids(lost)}
    assert (found.complete, found.settled, found.waiting) == (False, False, {})
    assert (found.expected, found.delivered) == (12, 6)
    recovery = Recovery(house.database, house.store, house.connection, house.publisher, claim_life=LIFE)
    await recovery.run(unlucky.id, ago(hours=1), act=ACT)
    found = await reconciliation.run()
    assert (found.settled, found.expected, found.delivered) == (True, 12, 12)


async def test_what_waits_in_a_queue_is_open_and_complete_but_not_settled(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    backdate(house)
    sent = await house.publish(count=4)
    found = await reconciliation.run()
    assert found.waiting == {endpoint_queue(endpoint.id, 1): 4}
    assert (found.complete, found.settled) == (True, False)
    assert ids_of(found) == sorted(sent)
    json = found.as_json()
    assert (json["expected"], json["waiting"], json["settled"]) == (4, found.waiting, False)
    assert {one["type"] for one in json["open"]} == {"market.dam.closed"}


async def test_what_waits_on_the_ladder_and_among_the_dead_letters_counts_too(
    house: House, reconciliation: Reconciliation, settings: Settings
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    backdate(house)
    await house.publish(count=3)
    retried, given_up, lost = await take(house, endpoint, 3)
    hour = parse_ladder("1h")
    async with await house.connection.channel() as channel:
        await declare(channel, Topology(ladder=hour))
    reconciliation = Reconciliation(house.database, house.store, house.connection, hour, LIFE)
    await house.publisher.publish_retry(replace(retried, endpoint=endpoint.id, attempt=1), hour[0])
    letter = Letter(
        body=given_up.body(), ticket=given_up, endpoint=endpoint.id, cause="rejected", detail="", attempts=3
    )
    await house.publisher.publish_letter(letter)
    found = await reconciliation.run(within=1)
    assert found.waiting == {"retry.1h": 1, DEADLETTERS: 1}
    assert (len(found.open), found.complete) == (3, False)
    record(house, endpoint, lost, "delivered")
    found = await reconciliation.run()
    assert (len(found.open), found.complete, found.settled) == (2, True, False)


async def test_what_waits_and_should_not_is_no_account(house: House, reconciliation: Reconciliation) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    first, _ = await house.endpoint("AAA1")
    second, _ = await house.endpoint("BBB1")
    backdate(house)
    (ticket,) = [await publish(house, house.event("AAA1"))]
    await take(house, first, 1)
    await house.publisher.publish_redelivery(replace(ticket, endpoint=second.id))
    found = await reconciliation.run(within=1)
    assert (opened(found), found.waiting) == (
        {(first.id, ticket.message_id)},
        {endpoint_queue(second.id, 1): 1},
    )
    assert not found.complete, "as many wait as are open, but at another endpoint"


async def test_every_outcome_is_counted_as_what_it_is(house: House, reconciliation: Reconciliation) -> None:
    house.participant("AAA1")
    endpoint = await subscribed(house, "AAA1")
    tickets = [await publish(house, house.event()) for _ in range(5)]
    record(house, endpoint, tickets[0], "failed")
    record(house, endpoint, tickets[0], "delivered")
    record(house, endpoint, tickets[1], "superseded")
    record(house, endpoint, tickets[2], "rejected")
    bury(house, endpoint, tickets[2])
    record(house, endpoint, tickets[3], "failed")
    found = await reconciliation.run(within=0)
    assert (found.expected, found.delivered, found.superseded, found.dead) == (5, 1, 1, 1)
    assert ids_of(found) == sorted(ids(tickets[3:]))


async def test_what_was_delivered_after_it_died_counts_as_delivered(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    endpoint = await subscribed(house, "AAA1")
    ticket = await publish(house, house.event())
    bury(house, endpoint, ticket)
    record(house, endpoint, ticket, "delivered")
    found = await reconciliation.run()
    assert (found.delivered, found.dead, found.settled) == (1, 0, True)


async def test_bindings_count_at_the_moment_of_publishing(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    always = await subscribed(house, "AAA1", "market.#")
    early = await subscribed(house, "AAA1", "market.#", until=-300)
    late = await subscribed(house, "AAA1", "market.#", since=ago(seconds=300))
    await subscribed(house, "AAA1", "oms.#")
    before = await publish(house, house.event(), at=-600)
    during = await publish(house, house.event(), at=-300)
    after = await publish(house, house.event())
    found = await reconciliation.run(within=0)
    assert opened(found) == {
        (always.id, before.message_id),
        (always.id, during.message_id),
        (always.id, after.message_id),
        (early.id, before.message_id),
        (late.id, after.message_id),
    }
    assert found.doubtful == 2, "the change came when the second was published"
    record(house, late, during, "delivered")
    assert (await reconciliation.run(within=0)).doubtful == 1


async def test_only_what_is_published_in_the_period_is_accounted_for(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    endpoint = await subscribed(house, "AAA1")
    tickets = [await publish(house, house.event(), at=at) for at in (-300, -200, -100, 0)]
    since, until = ago(seconds=250), ago(seconds=50)
    found = await reconciliation.run(since, until, within=0)
    assert ids_of(found) == sorted(ids(tickets[1:3]))
    assert not found.complete
    record(house, endpoint, tickets[1], "delivered")
    record(house, endpoint, tickets[2], "delivered")
    found = await reconciliation.run(since, until)
    assert (found.expected, found.complete, found.settled) == (2, True, True)
    with pytest.raises(InvalidInputError, match="until: is not later than since"):
        await reconciliation.run(until, since)


async def test_who_could_see_an_event_whose_claim_is_gone_is_known_from_a_dead_letter_or_not_at_all(
    house: House, reconciliation: Reconciliation
) -> None:
    for name in ("AAA1", "BBB1"):
        house.participant(name)
    first, second = await subscribed(house, "AAA1"), await subscribed(house, "BBB1")
    kept, lost = [await publish(house, house.event("AAA1", "BBB1")) for _ in range(2)]
    await keep(house, kept)
    await house.delete_claims()
    for_all = await publish(house, house.event())
    found = await reconciliation.run(within=0)
    assert opened(found) == {
        (first.id, kept.message_id),
        (second.id, kept.message_id),
        (first.id, lost.message_id),
        (first.id, for_all.message_id),
        (second.id, for_all.message_id),
    }
    assert found.unknown == 1
    for endpoint_id, message_id in opened(found):
        endpoint = first if endpoint_id == first.id else second
        record(house, endpoint, replace(lost, message_id=message_id), "delivered")
    found = await reconciliation.run(within=0)
    assert (found.open, found.complete, found.settled) == ((), False, False)


async def test_what_has_expired_and_what_no_clock_can_have_dated_is_told_apart(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    await subscribed(house, "AAA1")
    brief = ClaimStore(house.store.connection, life=timedelta(seconds=1))
    expired = await publish(house, house.event(), store=brief)
    await eventually(lambda: time.time() > expired.expires)
    await publish(house, house.event(), at=-30 * 86_400)
    found = await reconciliation.run(within=0)
    assert (found.expected, found.unknown, found.settled) == (0, 1, False)


async def test_what_is_published_meanwhile_belongs_to_the_account(
    house: House, reconciliation: Reconciliation
) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    backdate(house)
    await house.publish()
    (lost,) = await take(house, endpoint, 1)
    begun = asyncio.Event()
    looking = asyncio.create_task(reconciliation.run(on_progress=lambda _read, _total: begun.set()))
    await begun.wait()
    sent = await house.publish(count=2)
    record(house, endpoint, lost, "delivered")
    found = await looking
    assert ids_of(found) == sorted(sent)
    assert (found.complete, found.expected, found.delivered) == (True, 3, 1)


async def test_it_tells_how_far_it_is(house: House, reconciliation: Reconciliation) -> None:
    await house.publish(count=700)
    progress: list[tuple[int, int]] = []
    found = await reconciliation.run(on_progress=lambda read, total: progress.append((read, total)))
    assert progress == [(500, 700), (700, 700)]
    assert (found.settled, found.expected) == (True, 0)


_endpoints = st.sampled_from("abc")
_deliveries = st.lists(st.tuples(_endpoints, st.sampled_from(["own", "shared", "nowhere"]), st.booleans()))


@given(_deliveries)
def test_numbers_agree_exactly_when_each_open_delivery_waits(
    deliveries: list[tuple[str, str, bool]],
) -> None:
    """Each delivery has an endpoint and a place where it waits, if at all, and may be doubtful."""
    open_ = Counter(endpoint for endpoint, _, doubtful in deliveries if not doubtful)
    doubted = Counter(endpoint for endpoint, _, doubtful in deliveries if doubtful)
    waiting: Counter[str] = Counter()
    for endpoint, place, _ in deliveries:
        if place != "nowhere":
            waiting[endpoint_queue(endpoint, 1) if place == "own" else DEADLETTERS] += 1
    lost = [one for one in deliveries if one[1] == "nowhere" and not one[2]]
    if not lost:
        assert agrees(open_, doubted, waiting)
    elif not doubted:
        assert not agrees(open_, doubted, waiting)
    stranger = Counter({endpoint_queue("d", 1): 1})
    assert not agrees(open_, doubted, waiting + stranger)


async def test_an_empty_journal_is_complete(
    reconciliation: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FIRST", 0.5)
    found = await reconciliation.run()
    assert (found.settled, found.expected) == (True, 0)
