"""Replays on real servers: who gets what again, in which order, and what stops them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from claimbus.broker.publisher import Publisher
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.settings import Settings
from claimbus.database import endpoints, participants, replays
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Replay
from tests.broker.proxy import proxy_before
from tests.claimstore.private import PrivateRedis
from tests.consumers.house import House, open_house
from tests.deadletters.stage import ACT, LIFE, REJECTED, Stage, attempt, event
from tests.waiting import eventually, never


@pytest.fixture
def stage(house: House) -> Stage:
    house.participant("AAA1")
    return Stage(house.database, house.store, house.holds, house)


async def open_endpoint(stage: Stage, participant: str = "AAA1") -> Endpoint:
    """An endpoint with a queue, which no worker reads."""
    endpoint, _ = await stage.house.endpoint(participant)
    return endpoint


async def replayed(stage: Stage, found: list[DeadLetter]) -> Replay:
    """Replay letters, all at once, until everything is sent or skipped."""
    job = await stage.replay(found)
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "sent", "done"))
    return stage.job(job)


async def test_a_replayed_delivery_keeps_its_event_and_begins_anew(stage: Stage) -> None:
    endpoint, (letter,) = await bury(stage)
    began = int(time.time())
    job = await replayed(stage, [letter])
    (ticket,) = await stage.queued(endpoint, at_least=1) or []
    assert (ticket.message_id, ticket.claim_id, ticket.type) == (
        letter.message_id,
        letter.claim_id,
        letter.type,
    )
    assert (ticket.timestamp, ticket.endpoint, ticket.replay) == (letter.timestamp, endpoint.id, job.id)
    assert (ticket.attempt, ticket.expires) == (0, letter.expires)
    assert began <= (ticket.released or 0) <= time.time()


async def test_what_is_replayed_is_delivered_and_the_job_is_done(stage: Stage) -> None:
    endpoint, receiver = await stage.house.endpoint("AAA1")
    found = await stage.bury(endpoint, count=20)
    await stage.house.worker()
    job = await stage.replay(found, canary=True)
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "done"))
    assert Counter(one.header("webhook-id") for one in receiver.received) == Counter(
        letter.message_id for letter in found
    )
    assert {one.header("claimbus-replay") for one in receiver.received} == {job.id}
    assert await stage.states(found) == ["delivered"] * 20


async def test_a_replay_to_one_participant_touches_no_other(stage: Stage) -> None:
    """Although the event was for both, and is dead at both."""
    stage.participant("BBB1")
    mine, other = await open_endpoint(stage), await open_endpoint(stage, "BBB1")
    both = event("AAA1", "BBB1")
    (letter,), (others,) = await stage.bury(mine, both), await stage.bury(other, both)
    await replayed(stage, [letter])
    assert len(await stage.queued(mine, at_least=1) or []) == 1
    assert await stage.queued(other) == []
    assert await stage.states([letter, others]) == ["replaying", "dead"]


async def test_endpoints_take_turns_and_each_gets_its_events_in_order(stage: Stage) -> None:
    first, second = await open_endpoint(stage), await open_endpoint(stage)
    many, few = await stage.bury(first, count=5), await stage.bury(second, count=2)
    await replayed(stage, [*few, *reversed(many)])
    for endpoint, found in ((first, many), (second, few)):
        tickets = await stage.queued(endpoint, at_least=len(found)) or []
        assert [one.message_id for one in tickets] == [one.message_id for one in found]


async def test_a_claim_outlives_its_delivery(stage: Stage) -> None:
    """One that is gone is put back; one that would expire before the age limit is over lives longer."""
    endpoint = await open_endpoint(stage)
    limit = timedelta(seconds=endpoint.age_limit_s)
    gone, short = await stage.bury(endpoint, count=2, lasting=limit)
    (long,) = await stage.bury(endpoint, lasting=limit + timedelta(hours=2))
    await stage.forget(gone.claim_id)
    began = int(time.time())
    await replayed(stage, [gone, short, long])
    tickets = {one.claim_id: one for one in await stage.queued(endpoint, at_least=3) or []}
    for letter in (gone, short):
        (expiry,) = await stage.expiries(letter.claim_id)
        assert began + LIFE.total_seconds() <= expiry <= time.time() + LIFE.total_seconds()
        assert tickets[letter.claim_id or ""].expires == expiry
    assert await stage.expiries(long.claim_id) == {long.expires}
    assert tickets[long.claim_id or ""].expires == long.expires


async def test_what_stands_in_the_way_is_skipped_and_stays_dead(stage: Stage) -> None:
    stage.participant("BBB1")
    stage.participant("CCC1")
    good = await open_endpoint(stage)
    removed, paused, disabled, held = [await open_endpoint(stage) for _ in range(4)]
    other, narrow = await open_endpoint(stage, "BBB1"), await open_endpoint(stage, "CCC1")
    barred = [
        *await stage.bury(removed),
        *await stage.bury(paused),
        *await stage.bury(disabled),
        *await stage.bury(held),
        *await stage.bury(other, event("AAA1")),
        *await stage.bury(narrow),
    ]
    gone, corrupt = await stage.bury(good, count=2, kept=False)
    (fine,) = await stage.bury(good)
    with stage.database.transaction() as sql:
        endpoints.remove(sql, removed.id, ACT)
        endpoints.pause(sql, paused.id, Act("uaa", "moving house"))
        endpoints.disable(sql, disabled.id, Act("uaa", "gone for good"))
        participants.open_event_types(sql, "CCC1", ("oms.#",), ACT)
    for _ in range(5):
        await stage.holds.failed(held.id)
    await stage.forget(gone.claim_id)
    await stage.spoil(corrupt.claim_id)
    found = [*barred, gone, corrupt, fine]
    job = await replayed(stage, found)
    told = stage.skipped(job)
    assert [told[letter.id].split(":")[0] for letter in found[:-1]] == [
        "endpoint removed",
        "endpoint is paused",
        "endpoint is disabled",
        "endpoint is held",
        "not entitled",
        "not entitled",
        "body gone",
        "body corrupt",
    ]
    assert await stage.states(found) == ["dead"] * 8 + ["replaying"]
    assert [one.message_id for one in await stage.queued(good, at_least=1) or []] == [fine.message_id]
    assert await stage.queued(other) == []
    await stage.tell(attempt(fine, job.id))
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "done"))


async def test_entitlement_is_checked_when_it_is_sent_not_when_it_is_planned(stage: Stage) -> None:
    endpoint, (letter,) = await bury(stage)
    job = await stage.replay([letter])
    with stage.database.transaction() as sql:
        participants.open_event_types(sql, "AAA1", (), ACT)
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "done"))
    assert await stage.queued(endpoint) == []
    assert stage.progress(job).skipped == 1


async def test_a_runner_sees_at_once_that_an_entitlement_has_ended(stage: Stage) -> None:
    _, (first, second) = await bury(stage, count=2)
    async with stage.running():
        before = await stage.replay([first])
        await eventually(lambda: stage.is_in(before, "sent"))
        with stage.database.transaction() as sql:
            participants.open_event_types(sql, "AAA1", (), ACT)
        after = await stage.replay([second])
        await eventually(lambda: stage.is_in(after, "done"))
    assert (stage.progress(before).sent, stage.progress(after).skipped) == (1, 1)


async def test_one_goes_first_then_ten_then_all(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=30)
    job = await stage.replay(found, canary=True)
    async with stage.running():
        for first, last in ((0, 1), (1, 11), (11, 30)):
            await eventually(partial(stage.has_sent, job, last))
            await never(partial(stage.has_sent, job, last + 1), for_=0.3)
            assert await ids_of(stage, endpoint) == {letter.message_id for letter in found[:last]}
            await stage.tell(*(attempt(letter, job.id) for letter in found[first:last]))
        await eventually(lambda: stage.is_in(job, "done"))


async def test_a_failing_canary_pauses_the_job_and_says_what_to_do(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=30)
    job = await stage.replay(found, canary=True)
    failed = {**REJECTED, "status": 503, "detail": "out of service", "verdict": "failed"}
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 1))
        await stage.tell(attempt(found[0], job.id, **failed))
        await eventually(lambda: stage.is_in(job, "paused"))
        reason = stage.job(job).state_reason
        assert reason.startswith(
            f"the canary failed again at endpoint {endpoint.id}: failed, 503: out of service"
        )
        assert f"'claimbus replays resume {job.id}' goes on" in reason
        await never(lambda: stage.has_sent(job, 2), for_=0.3)
        await change(stage, replays.resume, job)
        await eventually(lambda: stage.has_sent(job, 11))
        await stage.tell(*(attempt(letter, job.id) for letter in found[1:11]))
        await eventually(lambda: stage.has_sent(job, 30))


async def test_a_failure_that_the_operator_has_accepted_pauses_no_more(stage: Stage) -> None:
    """Also while others of its stage are still to be sent."""
    _, found = await bury(stage, count=20)
    job = await stage.replay(found, canary=True, rate=3.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 1))
        await stage.tell(attempt(found[0], job.id))
        await eventually(lambda: stage.has_sent(job, 2))
        await stage.tell(attempt(found[1], job.id, **{**REJECTED, "status": 500}))
        await eventually(lambda: stage.is_in(job, "paused"))
        assert not stage.has_sent(job, 11)
        await change(stage, replays.resume, job)
        await eventually(lambda: stage.has_sent(job, 11))
        await stage.tell(*(attempt(letter, job.id) for letter in found[2:11]))
        await eventually(lambda: stage.has_sent(job, 12))


async def test_a_canary_that_dies_again_pauses_the_job(stage: Stage) -> None:
    endpoint, receiver = await stage.house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=422))
    found = await stage.bury(endpoint, count=15)
    await stage.house.worker(hold_after=100)
    job = await stage.replay(found, canary=True)
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "paused"))
    assert {one.header("webhook-id") for one in receiver.received} == {found[0].message_id}


async def test_a_failure_that_comes_back_pauses_the_job(stage: Stage) -> None:
    _, found = await bury(stage, count=20)
    job = await stage.replay(found, rate=3.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 3))
        await stage.tell(attempt(found[0], job.id, **REJECTED))
        await eventually(lambda: stage.is_in(job, "paused"))
        reason = stage.job(job).state_reason
        assert reason.startswith("the letters' failure came back: rejected, 422: answered 422")
        before = stage.progress(job).sent
        await change(stage, replays.resume, job, keep_going=True)
        await stage.tell(attempt(found[1], job.id, **REJECTED))
        await eventually(lambda: stage.has_sent(job, before + 2))


async def test_another_failure_does_not_pause_what_is_no_canary(stage: Stage) -> None:
    _, found = await bury(stage, count=8)
    job = await stage.replay(found, rate=5.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 5))
        await stage.tell(attempt(found[0], job.id, **{**REJECTED, "status": 500, "detail": "oh"}))
        await eventually(lambda: stage.is_in(job, "sent"))


async def test_a_paused_job_sends_nothing_until_it_is_resumed(stage: Stage) -> None:
    _, found = await bury(stage, count=30)
    job = await stage.replay(found, rate=4.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 4))
        await change(stage, replays.pause, job)
        await eventually(lambda: stage.is_left(job))
        before = stage.progress(job).sent
        await never(lambda: stage.has_sent(job, before + 1), for_=0.6)
        await change(stage, replays.resume, job)
        await eventually(lambda: stage.has_sent(job, before + 1))


async def test_a_cancelled_job_gives_back_what_it_has_not_sent(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=30)
    job = await stage.replay(found, rate=4.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 4))
        await change(stage, replays.cancel, job)
        await eventually(lambda: stage.is_left(job))
    progress = stage.progress(job)
    assert (progress.sent + progress.cancelled, progress.waiting, progress.sending) == (30, 0, 0)
    assert len(await stage.queued(endpoint, at_least=progress.sent) or []) == progress.sent
    assert Counter(await stage.states(found)) == {"replaying": progress.sent, "dead": progress.cancelled}


async def test_an_endpoint_that_has_to_wait_keeps_no_other_waiting(stage: Stage) -> None:
    """One has as many letters as would take an hour; the other's are sent with them."""
    many, few = await open_endpoint(stage), await open_endpoint(stage)
    found = [*await stage.bury(many, count=20), *await stage.bury(few, count=2)]
    job = await stage.replay(found, rate=2.0)
    async with stage.running():
        await eventually(lambda: stage.queued(few, at_least=2))
        assert not stage.is_in(job, "sent")


async def test_of_two_runners_one_runs_a_job(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=700)
    job = await stage.replay(found, rate=1000.0)
    async with stage.running("one"), stage.running("another"):
        await eventually(lambda: stage.is_in(job, "sent"))
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=700))
    assert Counter(one.message_id for one in tickets) == Counter(one.message_id for one in found)


async def test_jobs_run_side_by_side(stage: Stage) -> None:
    """One that waits for its canary holds up no other."""
    _, found = await bury(stage, count=15)
    waiting = await stage.replay(found[:12], canary=True)
    async with stage.running():
        await eventually(lambda: stage.has_sent(waiting, 1))
        other = await stage.replay(found[12:])
        await eventually(lambda: stage.is_in(other, "sent"))


async def test_a_runner_that_stops_leaves_nothing_unsure(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=600)
    job = await stage.replay(found)
    async with stage.running("one"):
        await eventually(lambda: stage.has_sent(job, 1), every=0)
    assert stage.progress(job).sending == 0
    assert stage.is_left(job)
    async with stage.running("another"):
        await eventually(lambda: stage.is_in(job, "sent"))
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=600))
    assert Counter(one.message_id for one in tickets) == Counter(one.message_id for one in found)


async def test_what_was_perhaps_sent_is_sent_again_unless_an_attempt_tells(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=3)
    job = await stage.replay(found)
    with stage.database.transaction() as sql:
        replays.claim_items(sql, job.id, 2, below=3)
    await stage.tell(attempt(found[0], job.id, **{**REJECTED, "status": 500}))
    async with stage.running():
        await eventually(lambda: stage.is_in(job, "sent"))
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=2))
    assert [one.message_id for one in tickets] == [one.message_id for one in found[1:]]
    assert stage.progress(job).sent == 3


async def test_a_lost_connection_loses_no_letter(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=1200)
    job = await stage.replay(found)
    async with stage.running():
        for count in (1, 400, 800):
            await eventually(partial(stage.has_sent, job, count), every=0)
            stage.house.publisher.connection.abandon("a test")
        await eventually(lambda: stage.is_in(job, "sent"))
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=1200))
    assert {one.message_id for one in tickets} == {one.message_id for one in found}


async def test_a_database_that_is_away_is_waited_for(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=30)
    job = await stage.replay(found, rate=10.0)
    async with stage.running():
        await eventually(lambda: stage.has_sent(job, 10))
        with stage.house.locked_database():
            await asyncio.sleep(0)
            await never(lambda: stage.has_sent(job, 30), for_=0.5)
        await eventually(lambda: stage.is_in(job, "sent"))
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=30))
    assert Counter(one.message_id for one in tickets) == Counter(one.message_id for one in found)


async def test_redis_that_is_away_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    try:
        async with open_house(settings.model_copy(update={"redis_url": redis.url}), tmp_path) as house:
            house.participant("AAA1")
            stage = Stage(house.database, house.store, house.holds, house)
            endpoint, found = await bury(stage, count=30)
            job = await stage.replay(found, rate=10.0)
            async with stage.running():
                await eventually(lambda: stage.has_sent(job, 10))
                redis.kill()
                await never(lambda: stage.has_sent(job, 30), for_=1.2)
                redis.start()
                await eventually(lambda: stage.is_in(job, "sent"))
            tickets = await eventually(lambda: stage.queued(endpoint, at_least=30))
            assert Counter(one.message_id for one in tickets) == Counter(one.message_id for one in found)
            assert stage.progress(job).skipped == 0
    finally:
        redis.kill()


async def test_what_is_not_confirmed_is_not_marked_as_sent(stage: Stage) -> None:
    endpoint, found = await bury(stage, count=5)
    job = await stage.replay(found)
    async with proxy_before(stage.house.wiring.settings.amqp_url) as proxy:
        publisher = await Publisher.open(proxy.url, confirm_timeout=2.0)
        proxy.mute()
        async with stage.running(publisher=publisher):
            await eventually(lambda: stage.queued(endpoint, at_least=5))
            assert stage.progress(job).sending == 5
            await eventually(lambda: stage.is_in(job, "sent"))
        await publisher.aclose()
    tickets = await eventually(lambda: stage.queued(endpoint, at_least=10))
    assert Counter(one.message_id for one in tickets) == dict.fromkeys((one.message_id for one in found), 2)


async def bury(stage: Stage, *, count: int = 1) -> tuple[Endpoint, list[DeadLetter]]:
    endpoint = await open_endpoint(stage)
    return endpoint, await stage.bury(endpoint, count=count)


async def ids_of(stage: Stage, endpoint: Endpoint) -> set[str]:
    return {one.message_id for one in await stage.queued(endpoint) or []}


async def change(stage: Stage, how: Callable[..., Replay], job: Replay, **choices: bool) -> None:
    """Pause, resume or cancel a job."""
    act = Act("tests", "a test")
    await stage.database.run(lambda sql: how(sql, job.id, act, **choices))
