"""What a webhook sends, as a real receiver sees it, read by the libraries that a participant would use."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.demo.receivers import Behaviour, Receivers
from claimbus.events.errors import InvalidEventError, InvalidInputError
from consumers.answer import MAX_RETRY_AFTER, retry_after_of
from consumers.binding import event_headers
from consumers.signature import Signer, new_secret
from consumers.webhook import check_url
from tests.consumers.webhooks import EVENT, post, webhook_to
from tests.waiting import eventually


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


async def test_an_event_arrives_as_a_signed_binary_cloudevent(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    sent = replace(
        EVENT, subject="Diablo Canyon ½, unit 1", dataschema="urn:schema:2", traceparent="00-ab-cd-01"
    )
    async with webhook_to(receiver) as hook:
        answer = await hook.post(sent, message_id=sent.identity, attempt=2)
    assert (answer.status, answer.failure, answer.sent) == (204, None, True)
    [got] = receiver.received
    assert got.verified
    assert got.header("webhook-id") == sent.identity
    assert got.attempt == 2
    assert got.header("claimbus-replay") is None
    assert got.header("content-type") == "application/json"
    assert got.header("user-agent") == "claimbus"
    assert got.header("accept-encoding") is None
    parsed = from_binary_event(HTTPMessage(dict(got.headers), got.body or b""))
    assert parsed.get_data() == {"mw": 12}
    assert parsed.get_subject() == "Diablo Canyon ½, unit 1"
    assert parsed.get_extension("partitionkey") == "1001"
    assert parsed.get_extension("sequence") == "3"
    assert parsed.get_time() == sent.time


async def test_nothing_sent_names_the_audience(receivers: Receivers) -> None:
    receiver = await receivers.add("A")
    sent = replace(EVENT, audience=frozenset({"PGAE", "SCE1"}))
    async with webhook_to(receiver) as hook:
        await hook.post(sent, message_id=sent.identity, attempt=1)
        await hook.post_claim(sent, claim_id="abc", message_id=sent.identity, attempt=1)
    record = receivers.record.read_text()
    assert "PGAE" not in record
    assert "SCE1" not in record


async def test_claim_mode_sends_where_the_data_is_and_not_the_data(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    sent = replace(EVENT, subject="Ünit 1")
    async with webhook_to(receiver) as hook:
        await hook.post_claim(sent, claim_id="abc", message_id="evt_1", attempt=1, replay="r7")
    async with webhook_to(receiver, claims_url="https://bus.iso.test/v1/claims/") as hook:
        await hook.post_claim(sent, claim_id="abc", message_id="evt_1", attempt=1)
    relative, absolute = (
        from_structured_event(HTTPMessage(dict(got.headers), got.body or b"")) for got in receiver.received
    )
    assert relative.get_extension("dataref") == "/v1/claims/abc"
    assert absolute.get_extension("dataref") == "https://bus.iso.test/v1/claims/abc"
    assert relative.get_data() is None
    assert (relative.get_subject(), relative.get_type()) == ("Ünit 1", sent.type)
    assert all(got.verified for got in receiver.received)
    assert receiver.received[0].header("claimbus-replay") == "r7"
    assert b"mw" not in (receiver.received[0].body or b"")


@given(subject=st.text(min_size=1, max_size=60), key=st.text(min_size=1, max_size=60))
def test_any_attribute_survives_the_headers(subject: str, key: str) -> None:
    headers = dict(event_headers(replace(EVENT, subject=subject, partitionkey=key)))
    assert all(0x21 <= ord(character) <= 0x7E for character in headers["ce-subject"])
    parsed = from_binary_event(HTTPMessage(headers, b"{}"))
    assert parsed.get_subject() == subject
    assert parsed.get_extension("partitionkey") == key


def test_characters_that_may_stand_for_themselves_do() -> None:
    assert (
        event_headers(replace(EVENT, subject="a b%\"é€😀~!'"))["ce-subject"]
        == "a%20b%25%22%C3%A9%E2%82%AC%F0%9F%98%80~!'"
    )


@pytest.mark.parametrize("content_type", ["application/é", "text/plain\r\nx: y"])
def test_a_content_type_that_fits_no_header_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidEventError, match="datacontenttype"):
        event_headers(replace(EVENT, datacontenttype=content_type))


async def test_a_retiring_type_is_announced(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    deprecation = datetime(2023, 6, 30, 23, 59, 59, tzinfo=UTC)
    sunset = datetime(2024, 6, 30, tzinfo=UTC)
    headers = event_headers(EVENT, deprecation=deprecation, sunset=sunset)
    async with webhook_to(receiver) as hook:
        await hook.post(EVENT, headers=headers, message_id="evt_1", attempt=1)
        await hook.post_claim(
            EVENT, claim_id="abc", message_id="evt_1", attempt=1, deprecation=deprecation, sunset=sunset
        )
    for got in receiver.received:
        assert got.header("deprecation") == "@1688169599"  # the example of RFC 9745
        assert got.header("sunset") == "Sun, 30 Jun 2024 00:00:00 GMT"


async def test_during_a_rotation_the_old_secret_and_the_new_one_both_verify(receivers: Receivers) -> None:
    old, new = new_secret(), new_secret()
    receiver = await receivers.add("PGAE", secrets=[old])
    async with webhook_to(receiver, secrets=[new, old]) as hook:
        await post(hook)
        receiver.secrets = (new,)
        await post(hook)
        receiver.secrets = (new_secret(),)
        await post(hook)
    assert [got.verified for got in receiver.received] == [True, True, False]
    assert len((receiver.received[0].header("webhook-signature") or "").split(" ")) == 2


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", b"x" * 100_000])
async def test_any_body_arrives_as_it_is_and_verifies(receivers: Receivers, body: bytes) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver) as hook:
        answer = await post(hook, body=body)
    assert answer.status == 204
    assert receiver.received[0].body == body
    assert receiver.received[0].verified


@pytest.mark.parametrize("secrets", [[], ["whsec_"], ["whsec_not base64!"]])
def test_an_unusable_secret_is_refused_and_not_shown(secrets: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="secrets") as refused:
        Signer(secrets)
    assert "not base64!" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://h.test/", "ftp://h.test/", "h.test", "https://", "https://u:p@h.test/", "https://[::1"]
)
def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="url"):
        check_url(url)


def test_plain_http_must_be_allowed() -> None:
    assert check_url("http://h.test/", allow_http=True).scheme == "http"


async def test_a_redirect_is_an_answer_and_never_followed(receivers: Receivers) -> None:
    elsewhere = await receivers.add("elsewhere")
    moved = Behaviour(kind="status", status=307, headers={"location": elsewhere.url})
    receiver = await receivers.add("PGAE", moved)
    async with webhook_to(receiver) as hook:
        assert (await post(hook)).status == 307
    assert elsewhere.received == []


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("99999999999", 86_400, 86_400),
        ("Sun, 06 Nov 2095 08:49:37 GMT", 86_400, 86_400),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        ("soon", None, None),
        ("-5", None, None),
    ],
)
async def test_retry_after_is_read_and_bounded(
    receivers: Receivers, value: str, low: float | None, high: float | None
) -> None:
    receiver = await receivers.add(
        "PGAE", Behaviour(kind="status", status=429, headers={"retry-after": value})
    )
    async with webhook_to(receiver) as hook:
        answer = await post(hook)
    assert answer.status == 429
    assert answer.retry_after is None if low is None else low <= (answer.retry_after or 0) <= (high or 0)


@given(
    value=st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,5} Jan [0-9]{1,9} [0-9:]{1,9} [+-][0-9]{1,20}")
)
def test_no_retry_after_is_out_of_bounds(value: str) -> None:
    seconds = retry_after_of(value)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


async def test_connections_are_kept_and_bounded(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="slow", seconds=0.02))
    at_once = []
    async with webhook_to(receiver, concurrency=2) as hook:
        for posted in asyncio.as_completed([post(hook) for _ in range(10)]):
            await posted
            at_once.append(receiver.connections)
    assert len(receiver.received) == 10
    assert max(at_once) == 2


async def test_an_idle_connection_is_closed(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver, idle_timeout=0.1) as hook:
        await post(hook)
        assert receiver.connections == 1
        await eventually(lambda: receiver.connections == 0)
        assert (await post(hook)).status == 204
