"""The library, against a server on this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from claimbus.events.errors import ClaimbusError, ConfigurationError
from claimbus.events.stream import CloseCode
from claimbus.subscribers import client
from claimbus.subscribers.client import Delivery, Subscription, subscribe
from claimbus.subscribers.stream import StreamRefusedError
from tests.events.test_tls import lax_server, listening, only_tls_1_1
from tests.subscribers.portals import ENDPOINT, Portal, an_event, context_of, numbers
from tests.waiting import eventually, never


@pytest.fixture
async def portal(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Portal]:
    monkeypatch.setattr(client, "SHORTEST_PAUSE", 0.01)
    portal = Portal(certificates)
    async with portal.listening():
        yield portal


def subscribed(
    portal: Portal,
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    token: str | None = None,
    prefetch: int = 32,
) -> Subscription:
    return subscribe(
        portal.url,
        ENDPOINT,
        ca_file=ca or portal.certificates / "ca.pem",
        certificate_file=certificate or portal.certificates / "client.pem",
        token=token,
        prefetch=prefetch,
    )


async def take(subscription: Subscription, count: int) -> list[int]:
    """Ack so many events, and return their numbers."""
    taken = []
    async for delivery in subscription:
        async with delivery as event:
            taken.append(event.json()["number"])
        if len(taken) == count:
            subscription.stop()
    return taken


async def test_leaving_the_block_acks_an_event(portal: Portal) -> None:
    portal.put(an_event(1), an_event(2))
    assert await take(subscribed(portal), 2) == [1, 2]
    assert numbers(portal.acked) == [1, 2]
    await eventually(lambda: portal.closed_with == [CloseCode.DONE])


async def test_an_exception_in_the_block_nacks_the_event_and_goes_on(portal: Portal) -> None:
    portal.put(an_event(1))
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async for delivery in subscribed(portal):
            async with delivery:
                _ = 1 / 0
    await eventually(lambda: portal.nacked == [("event-1", "ZeroDivisionError")])
    async for delivery in subscribed(portal):
        async with delivery as event:
            assert event.attempt == 2
        break
    await eventually(lambda: portal.acked == ["event-1"])


async def test_a_handler_that_runs_out_of_time_nacks(portal: Portal) -> None:
    portal.put(an_event(1))
    subscription = subscribed(portal)
    async for delivery in subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), delivery:
                await asyncio.Event().wait()
        break
    await eventually(lambda: portal.nacked == [("event-1", "CancelledError")])


async def test_no_more_come_unanswered_than_the_prefetch(portal: Portal) -> None:
    portal.put(*map(an_event, range(20)))
    subscription = subscribed(portal, prefetch=3)
    held = []
    async for delivery in subscription:
        held.append(delivery)
        if len(held) == 3:
            for one in held:
                async with one:
                    pass
            held.clear()
        if len(portal.acked) >= 15:
            subscription.stop()
    assert portal.longest_unanswered == 3


async def test_events_are_handled_side_by_side_and_answered_in_any_order(portal: Portal) -> None:
    portal.put(*map(an_event, range(3)))
    deliveries = []
    subscription = subscribed(portal)
    async for delivery in subscription:
        deliveries.append(delivery)
        if len(deliveries) == 3:
            for one in reversed(deliveries):
                async with one:
                    pass
            break
    await eventually(lambda: numbers(portal.acked) == [2, 1, 0])


async def test_tasks_answer_what_they_have_after_the_iteration_ended(portal: Portal) -> None:
    portal.put(an_event(1), an_event(2))
    begun = 0
    stopped = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        nonlocal begun
        async with delivery:
            begun += 1
            await stopped.wait()

    async with subscribed(portal) as deliveries, asyncio.TaskGroup() as tasks:
        async for delivery in deliveries:
            tasks.create_task(handle(delivery))
            if begun == 1:
                deliveries.stop()
            await asyncio.sleep(0)
        stopped.set()
    assert sorted(numbers(portal.acked)) == [1, 2]
    await eventually(lambda: portal.closed_with == [CloseCode.DONE])


async def test_a_connection_cut_in_the_middle_of_an_event_loses_none(portal: Portal) -> None:
    portal.put(*map(an_event, range(10)))
    portal.cut_after = 4
    taken = await take(subscribed(portal, prefetch=2), 10)
    assert sorted(set(taken)) == list(range(10))
    assert portal.opened == 2


async def test_what_came_over_a_connection_that_ended_is_not_handed_out(portal: Portal) -> None:
    portal.put(*map(an_event, range(5)))
    subscription = subscribed(portal)
    handed_out = []
    async for delivery in subscription:
        handed_out.append(delivery.event.id)
        if len(handed_out) == 1:
            (connection,) = portal.connections
            connection.transport.abort()
            assert subscription._stream is not None
            await subscription._stream._connection.wait_closed()
        async with delivery:
            pass
        if len(handed_out) == 6:
            break
    assert numbers(handed_out) == [0, 0, 1, 2, 3, 4]


async def test_a_portal_that_stops_is_found_again(portal: Portal) -> None:
    portal = Portal(portal.certificates)
    async with portal.listening():
        taking = asyncio.create_task(take(subscribed(portal), 2))
        portal.put(an_event(1))
        await eventually(lambda: portal.acked)
    assert portal.closed_with == [CloseCode.STOPPING]
    async with portal.listening():
        portal.put(an_event(2))
        assert await taking == [1, 2]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4429, 4999])
async def test_what_may_pass_is_waited_for(
    code: int, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.02)
    portal.close_with, portal.times = code, 2
    portal.put(an_event(1))
    assert await take(subscribed(portal), 1) == [1]
    assert portal.opened == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_an_http_answer_that_may_pass_is_waited_for(
    status: int, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.02)
    portal.status, portal.times = status, 1
    portal.put(an_event(1))
    assert await take(subscribed(portal), 1) == [1]


@pytest.mark.parametrize("code", [4401, 4403, 4404, 4409, 4410])
async def test_what_will_not_pass_is_told_at_once(code: int, portal: Portal) -> None:
    portal.close_with = code
    with pytest.raises(StreamRefusedError) as refused:
        await take(subscribed(portal), 1)
    assert refused.value.code == code
    assert CloseCode(code).meaning in str(refused.value)
    assert portal.opened == 1


@pytest.mark.parametrize("status", [401, 403, 404, 409, 410])
async def test_a_refusal_by_http_means_the_same(status: int, portal: Portal) -> None:
    portal.status = status
    with pytest.raises(StreamRefusedError) as refused:
        await take(subscribed(portal), 1)
    assert refused.value.code == 4000 + status


async def test_a_refusal_in_the_middle_ends_it(portal: Portal) -> None:
    portal.put(an_event(1))
    taken = []
    with pytest.raises(StreamRefusedError):  # noqa: PT012
        async for delivery in subscribed(portal):
            async with delivery as event:
                taken.append(event.id)
            (connection,) = portal.connections
            await connection.close(CloseCode.DISABLED)
    assert taken == ["event-1"]


async def test_a_stream_is_called_open_when_nobody_refused_it(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    portal.close_with = CloseCode.DISABLED
    with pytest.raises(StreamRefusedError):
        await take(subscribed(portal), 1)
    assert "stream open" not in caplog.text
    portal.close_with = None
    portal.put(an_event(1))
    await take(subscribed(portal), 1)  # its first event says that it is open
    assert caplog.text.count("stream open") == 1
    monkeypatch.setattr(client, "STANDS_AFTER", 0.05)
    quiet = subscribed(portal)
    waiting = asyncio.create_task(take(quiet, 1))
    await eventually(lambda: caplog.text.count("stream open") == 2)
    quiet.stop()
    await waiting
    assert caplog.text.count("stream open") == 2


async def test_a_redirect_is_not_followed(portal: Portal) -> None:
    portal.status = 307
    with pytest.raises(StreamRefusedError, match="307"):
        await take(subscribed(portal), 1)
    assert len(portal.requests) == 1


@pytest.mark.parametrize("frame", [b"", b"\xc1", "text", b"\x80", msgpack.packb({"delivery": 0})])
async def test_a_malformed_frame_closes_the_connection_with_1002(frame: bytes | str, portal: Portal) -> None:
    portal.raw = [frame]
    taking = asyncio.create_task(take(subscribed(portal), 1))
    await eventually(lambda: portal.closed_with)
    portal.raw = []
    portal.put(an_event(1))
    assert await taking == [1]
    assert portal.closed_with[0] == CloseCode.MALFORMED


async def test_a_frame_that_is_too_large_is_refused_unread(portal: Portal) -> None:
    portal.raw = [an_event(1, body=b"x" * 1_200_000).encode()]
    taking = asyncio.create_task(take(subscribed(portal), 1))
    await eventually(lambda: portal.closed_with)
    portal.raw = []
    portal.put(an_event(1))
    assert await taking == [1]
    assert portal.closed_with[0] == 1009


async def test_what_is_no_event_is_nacked_and_holds_nothing_up(portal: Portal) -> None:
    portal.put(an_event(1, message_id="evt_another"), an_event(2))
    assert await take(subscribed(portal), 1) == [2]
    assert ("event-1", "MalformedEventError") in portal.nacked


async def test_stopping_ends_a_wait_at_once(portal: Portal) -> None:
    subscription = subscribed(portal)
    taking = asyncio.create_task(take(subscription, 1))
    await eventually(lambda: portal.opened)
    subscription.stop()
    subscription.stop()
    assert await taking == []
    assert portal.closed_with == [CloseCode.DONE]


async def test_stopping_ends_the_pause_before_another_try(portal: Portal) -> None:
    portal.close_with = CloseCode.TOO_MANY
    subscription = subscribed(portal)
    taking = asyncio.create_task(take(subscription, 1))
    await eventually(lambda: portal.opened)
    subscription.stop()
    assert await taking == []


async def test_the_scheme_may_be_in_any_case(portal: Portal) -> None:
    portal.put(an_event(1))
    shouted = subscribe(
        portal.url.replace("wss", "WSS"),
        ENDPOINT,
        ca_file=portal.certificates / "ca.pem",
        certificate_file=portal.certificates / "client.pem",
    )
    assert await take(shouted, 1) == [1]


async def test_the_token_is_shown(portal: Portal) -> None:
    portal.put(an_event(1))
    await take(subscribed(portal, token="clb_secret"), 1)
    (request,) = portal.requests
    assert request.headers["authorization"] == "Bearer clb_secret"
    assert request.path == "/v1/endpoints/ep_1/stream?prefetch=32"


async def test_a_server_of_another_authority_is_refused(portal: Portal) -> None:
    with pytest.raises(StreamRefusedError, match=r"certificate is not trusted.*CA file"):
        await take(subscribed(portal, ca=portal.certificates / "other-ca.pem"), 1)
    assert portal.opened == 0


async def test_a_server_of_tls_1_1_is_refused(certificates: Path) -> None:
    with listening(only_tls_1_1(lax_server(certificates))) as port:
        old = Portal(certificates, port)
        with pytest.raises(StreamRefusedError, match=r"no TLS of version 1\.2 or newer"):
            await take(subscribed(old), 1)


async def test_a_server_that_is_no_portal_is_refused(portal: Portal) -> None:
    with pytest.raises(StreamRefusedError, match="HTTP 200 instead"):
        async with _speaking_http_only(portal.certificates) as port:
            await take(subscribed(replace(portal, port=port)), 1)


async def test_a_server_that_knows_no_such_protocol_is_refused(portal: Portal) -> None:
    portal = Portal(portal.certificates, subprotocols=())
    async with portal.listening():
        with pytest.raises(StreamRefusedError, match=r"does not speak claimbus\.v1"):
            await take(subscribed(portal), 1)


async def test_trust_that_was_there_once_is_waited_for(portal: Portal, tmp_path: Path) -> None:
    """A certificate or an authority that is being renewed is no reason to give up for good."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes((portal.certificates / "ca.pem").read_bytes())
    taking = asyncio.create_task(take(subscribed(portal, ca=ca), 2))
    portal.put(an_event(1))
    await eventually(lambda: portal.acked)
    for wrong in ((portal.certificates / "other-ca.pem").read_bytes(), b"half"):
        ca.write_bytes(wrong)
        for connection in list(portal.connections):
            connection.transport.abort()
        await never(taking.done, for_=0.1)
    ca.write_bytes((portal.certificates / "ca.pem").read_bytes())
    portal.put(an_event(2))
    assert await taking == [1, 2]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"url": "https://iso.example"}, "url"),
        ({"url": "ws://iso.example"}, "url"),
        ({"url": "wss://user@iso.example"}, "url"),
        ({"url": "wss://iso.example:x"}, "url"),
        ({"url": "wss://"}, "url"),
        ({"endpoint_id": ""}, "endpoint_id"),
        ({"prefetch": 0}, "prefetch"),
        ({"prefetch": 257}, "prefetch"),
        ({"token": "a\r\nb"}, "token"),
        ({"token": ""}, "token"),
    ],
)
def test_an_unusable_argument_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        subscribe(**({"url": "wss://iso.example", "endpoint_id": "ep_1"} | options))
    assert refused.value.field == field


async def test_an_unreadable_file_is_named(portal: Portal) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await take(subscribed(portal, certificate=portal.certificates / "none.pem"), 1)
    assert refused.value.field == "certificate_file"


def test_a_token_is_in_no_error_and_no_name() -> None:
    subscription = subscribe("wss://iso.example", "ep_1", token="clb_secret")
    assert "clb_secret" not in repr(subscription._identity)
    with pytest.raises(ClaimbusError) as refused:
        subscribe("wss://iso.example", "ep_1", token="clb secret")
    assert "secret" not in str(refused.value)


@asynccontextmanager
async def _speaking_http_only(certificates: Path) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context_of(certificates)) as server:
        yield server.sockets[0].getsockname()[1]
