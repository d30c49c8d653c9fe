"""Nothing is sent to a URL before whoever answers there has agreed: by the handshake, or to a challenge."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Unpack

import pytest

from claimbus.broker.topology import endpoint_queue, message_counts
from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.database import endpoints
from claimbus.database.endpoint import Endpoint
from consumers.addresses import AddressGuard
from consumers.signature import new_secret
from consumers.verification import Verification, verify
from tests.consumers.house import ACT, House
from tests.consumers.webhooks import Settings, post, webhook_to
from tests.waiting import eventually, never

ORIGIN = "events.iso.test"


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


@pytest.fixture
async def receiver(receivers: Receivers) -> Receiver:
    return await receivers.add("PGAE")


def endpoint_of(receiver: Receiver, *, rate_limit: float | None = None) -> Endpoint:
    return Endpoint(
        id="ep_1",
        participant_id="PGAE",
        organisation_id="Pacific",
        name="one",
        kind="webhook",
        url=receiver.url,
        mode="body",
        ordered=False,
        latest_only=False,
        concurrency=1,
        rate_limit=rate_limit,
        timeout_s=5.0,
        age_limit_s=3600,
        schema_version=None,
        ca_pem=None,
        state="pending",
        state_reason="",
        generation=1,
        secrets=(),
        subscriptions=(),
        revision=1,
        created_at=datetime.now(UTC),
        verified_at=None,
        removed_at=None,
        allowed_rate=None,
    )


async def asked(
    receiver: Receiver, *, rate_limit: float | None = None, **settings: Unpack[Settings]
) -> Verification:
    known: Settings = {"origin": ORIGIN, "timeout": 1.0}
    async with webhook_to(receiver, **(known | settings)) as hook:
        return await verify(hook, endpoint_of(receiver, rate_limit=rate_limit), source="urn:tests")


def answers(status: int, *, origin: str | None = None, rate: str | None = None) -> Behaviour:
    said = {"webhook-allowed-origin": origin, "webhook-allowed-rate": rate}
    headers = {name: value for name, value in said.items() if value is not None}
    return Behaviour(kind="status", status=status, headers=headers)


@pytest.mark.parametrize(
    ("permission", "allowed_rate"),
    [
        (answers(200, origin="*"), None),
        (answers(204, origin=ORIGIN), None),
        (answers(200, origin="EVENTS.iso.TEST"), None),
        (answers(200, origin="*", rate="*"), None),
        (answers(200, origin=ORIGIN, rate="120"), 2.0),
        (answers(200, origin="*", rate="1"), 1 / 60),
    ],
)
async def test_a_receiver_that_permits_us_is_sent_nothing_more(
    receiver: Receiver, permission: Behaviour, allowed_rate: float | None
) -> None:
    receiver.permission = permission
    found = await asked(receiver)
    assert (found.way, found.passed, found.allowed_rate) == ("handshake", True, allowed_rate)
    assert receiver.received == []
    [request] = receiver.asked
    assert request.header("webhook-request-origin") == ORIGIN
    assert request.header("webhook-request-rate") is None
    assert request.header("webhook-signature") is None
    assert request.size == 0


@pytest.mark.parametrize(("rate_limit", "told"), [(2.0, "120"), (0.01, "1"), (1.99, "119")])
async def test_a_rate_is_asked_for_where_there_is_one(
    receiver: Receiver, rate_limit: float, told: str
) -> None:
    assert (await asked(receiver, rate_limit=rate_limit)).passed
    assert receiver.asked[0].header("webhook-request-rate") == told


@pytest.mark.parametrize(
    ("permission", "meaning"),
    [
        (answers(200, origin="other.test"), "takes events from 'other.test', and we are 'events.iso.test'"),
        (answers(200, origin=""), "takes events from ''"),
        (answers(200, origin="events.iso.test.evil.test"), "takes events from"),
        (answers(200, origin="x" * 1000), "takes events from 'xxx"),
        (answers(200, origin="*", rate="0"), "a rate of '0'"),
        (answers(200, origin="*", rate="-1"), "a rate of '-1'"),
        (answers(200, origin="*", rate="1e3"), "a rate of '1e3'"),
        (answers(200, origin="*", rate="9" * 5000), "a rate of '999"),
        (answers(200, origin="*", rate=""), "a rate of ''"),
    ],
)
async def test_a_receiver_that_permits_others_is_left_alone(
    receiver: Receiver, permission: Behaviour, meaning: str
) -> None:
    receiver.permission = permission
    found = await asked(receiver)
    assert (found.way, found.passed, found.allowed_rate) == ("handshake", False, None)
    assert meaning in found.meaning
    assert len(found.meaning) < 200
    assert receiver.received == []


@pytest.mark.parametrize(
    "permission",
    [answers(status) for status in (200, 204, 302, 400, 401, 403, 404, 405, 410, 429, 500, 501, 503)]
    + [answers(405, origin="*")],
)
async def test_one_that_does_not_know_the_handshake_is_challenged(
    receiver: Receiver, permission: Behaviour
) -> None:
    receiver.permission = permission
    found = await asked(receiver)
    assert (found.way, found.passed, found.answer.status) == ("challenge", True, 204)
    [request] = receiver.received
    assert request.verified
    assert request.event["type"] == "system.endpoint.test"


@pytest.mark.parametrize("status", [302, 401, 404, 410, 422, 503])
async def test_a_challenge_that_is_not_taken_says_why(receiver: Receiver, status: int) -> None:
    receiver.permission = answers(405)
    await receiver.behave(Behaviour(kind="status", status=status))
    found = await asked(receiver)
    assert (found.way, found.passed, found.answer.status) == ("challenge", False, status)


async def test_a_receiver_that_checks_signatures_refuses_a_stranger_s_challenge(receiver: Receiver) -> None:
    receiver.permission = answers(405)
    found = await asked(receiver, secrets=[new_secret()])
    assert (found.passed, found.answer.status) == (False, 401)
    assert "secret" in found.meaning


@pytest.mark.parametrize(("kind", "failure"), [("hang", "timeout"), ("reset", "reset")])
async def test_a_receiver_that_does_not_answer_is_not_challenged(
    receiver: Receiver,
    kind: Literal["hang", "reset"],
    failure: str,
) -> None:
    receiver.permission = Behaviour(kind=kind)
    found = await asked(receiver)
    assert (found.passed, found.answer.failure) == (False, failure)
    assert receiver.received == []


async def test_a_forbidden_address_is_not_even_asked(receiver: Receiver) -> None:
    found = await asked(receiver, guard=AddressGuard())
    assert (found.passed, found.answer.failure) == (False, "refused-address")
    assert receiver.accepted == 0


async def test_a_receiver_that_wants_our_certificate_is_asked_with_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Receivers.open(tmp_path, authority=authority, client_certificates=True) as receivers:
        receiver = await receivers.add("PGAE")
        nobody = await asked(receiver)
        ours = await asked(receiver, identity_pem=authority.client("iso").read_bytes())
    assert (nobody.passed, ours.passed) == (False, True)
    assert len(receiver.asked) == 1


async def test_each_delivery_bears_the_origin_that_was_permitted(receiver: Receiver) -> None:
    async with webhook_to(receiver, origin=ORIGIN) as hook:
        await post(hook)
    assert receiver.received[0].header("origin") == ORIGIN


async def waiting(house: House, endpoint: Endpoint) -> int:
    queue = endpoint_queue(endpoint.id, endpoint.generation)
    counts = (await message_counts(house.connection, [queue]))[queue]
    assert counts is not None
    return counts.messages


async def passed(house: House, endpoint: Endpoint, *, url: str) -> None:
    await house.database.run(lambda sql: endpoints.mark_verified(sql, endpoint.id, ACT, url=url))
    await house.publisher.announce(endpoint.id, "changed")


async def test_a_pending_endpoint_s_queue_collects_and_nothing_is_sent(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", verified=False)
    other, _ = await house.endpoint("AAA1")
    await house.worker()
    sent = await house.publish(count=5)
    await eventually(lambda: house.attempts_when(other, 5))
    assert await waiting(house, endpoint) == 5
    assert (receiver.accepted, await house.attempts(endpoint)) == (0, [])

    await passed(house, endpoint, url=receiver.url)
    await eventually(lambda: house.attempts_when(endpoint, 5))
    assert {one.header("webhook-id") for one in receiver.received} == set(sent)


async def test_another_url_gets_nothing_before_it_is_verified_and_then_everything(house: House) -> None:
    house.participant("AAA1")
    endpoint, before = await house.endpoint("AAA1")
    after = await house.receivers.add("after", secrets=before.secrets)
    worker = await house.worker()
    await house.publish()
    await eventually(lambda: before.received)
    await house.change(endpoint, url=after.url)
    await eventually(lambda: not worker._roster.lanes)
    sent = await house.publish(count=3)
    await eventually(lambda: waiting(house, endpoint))
    await never(lambda: after.accepted or len(before.received) > 1, for_=0.2)
    assert house.state_of(endpoint) == "pending"

    await passed(house, endpoint, url=after.url)
    await eventually(lambda: house.attempts_when(endpoint, 4))
    assert {one.header("webhook-id") for one in after.received} == set(sent)
    assert len(before.received) == 1


async def test_the_rate_that_a_receiver_allows_is_kept(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", verified=False, rate_limit=1000.0)
    await house.database.run(
        lambda sql: endpoints.mark_verified(sql, endpoint.id, ACT, url=receiver.url, allowed_rate=20.0)
    )
    await house.worker()
    began = time.time()
    await house.publish(count=10)
    attempts = await eventually(lambda: house.attempts_when(endpoint, 10))
    assert max(attempt.started_ms for attempt in attempts) / 1000 >= began + 9 / 20
