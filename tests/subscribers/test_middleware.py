"""Webhooks in front of an application of one's own: what is answered to what."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from claimbus.subscribers import Received, SinkError, StoppingError, WebhookMiddleware, asgi
from claimbus.subscribers.asgi import Message, Receive, Scope, Send
from claimbus.subscribers.middleware import Handler
from tests.subscribers.sender import SECRET, an_event, signed


@dataclass
class Server:
    """An ASGI server of one request, and the application behind the webhooks."""

    app: WebhookMiddleware
    others: list[Scope] = field(default_factory=list)

    async def request(
        self,
        headers: dict[str, str] | None = None,
        parts: Sequence[bytes] = (b"",),
        *,
        method: str = "POST",
        path: str = "/in",
        silent: bool = False,
        gone: bool = False,
        pause: float = 0,
    ) -> tuple[int, dict[str, str], bytes]:
        """Returns status, headers, body; status 0 when nothing was answered."""
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
            "client": ("192.0.2.1", 4711),
        }
        waiting = list(parts)
        answers: list[Message] = []

        async def receive() -> Message:
            if waiting:
                await asyncio.sleep(pause)
                return {
                    "type": "http.request",
                    "body": waiting.pop(0),
                    "more_body": bool(waiting) or silent or gone,
                }
            if silent:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answers.append(message)

        await self.app(scope, receive, send)
        if not answers:
            return 0, {}, b""
        found = {name.decode(): value.decode() for name, value in answers[0]["headers"]}
        return answers[0]["status"], found, answers[1]["body"]


def server(
    handler: Handler | None = None, *, path: str | None = "/in", **settings: object
) -> tuple[Server, list[Received]]:
    got: list[Received] = []
    others: list[Scope] = []

    async def keep(event: Received) -> None:
        got.append(event)

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        others.append(scope)

    app = WebhookMiddleware(other, path=path, secrets=[SECRET], handler=handler or keep, **settings)  # type: ignore[arg-type] # passed on
    return Server(app, others), got


async def test_an_event_is_handled_and_then_acked() -> None:
    front, got = server()
    headers, body = signed(an_event(body=b"\xff\x00"))
    assert await front.request(headers, [body]) == (204, {}, b"")
    assert [event.body for event in got] == [b"\xff\x00"]


async def test_a_body_in_parts_is_put_together() -> None:
    front, got = server()
    headers, body = signed(an_event(body=b"abc" * 1000))
    assert (await front.request(headers, [body[:1], b"", body[1:1000], body[1000:]]))[0] == 204
    assert got[0].body == body


async def test_what_is_not_proved_is_answered_401_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    front, got = server()
    headers, body = signed(an_event())
    assert await front.request(headers, [body + b" "]) == (401, _empty(), b"")
    assert await front.request({}, [body]) == (401, _empty(), b"")
    assert await front.request(signed(an_event(), at=1)[0], [body]) == (401, _empty(), b"")
    assert not got
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "webhook from 192.0.2.1 refused"
    ] * 3


def _empty() -> dict[str, str]:
    return {"content-type": "text/plain; charset=utf-8", "content-length": "0"}


async def test_the_body_of_what_can_never_be_proved_is_not_read() -> None:
    front, _ = server()
    headers, _ = signed(an_event(), at=1)
    assert (await asyncio.wait_for(front.request(headers, [b"a"], silent=True), 5))[0] == 401


async def test_what_is_no_event_is_answered_400_with_the_field() -> None:
    front, got = server()
    headers, body = signed(an_event())
    status, _, text = await front.request(headers | {"ce-time": "yesterday"}, [body])
    assert (status, text[:5]) == (400, b"time:")
    assert not got


async def test_a_large_body_is_refused_as_announced_or_as_it_comes() -> None:
    front, got = server(max_body=1000)
    headers, body = signed(an_event(body=bytes(1001)))
    announced = headers | {"content-length": "1001"}
    assert (await asyncio.wait_for(front.request(announced, [b"a"], silent=True), 5))[0] == 413
    assert (await front.request(headers, [body[:600], body[600:]]))[0] == 413
    headers, body = signed(an_event(body=bytes(1000)))
    assert (await front.request(headers, [body]))[0] == 204
    assert len(got) == 1


async def test_bodies_in_memory_are_bounded_and_given_back() -> None:
    release = asyncio.Event()
    front, _ = server(lambda _: release.wait(), max_body=1000)
    requests = [signed(an_event(number, body=bytes(1000))) for number in range(6)]
    held = [
        asyncio.create_task(front.request(headers, [body])) for headers, body in requests[: asgi.TOGETHER]
    ]
    await asyncio.sleep(0)
    status, headers, _ = await front.request(requests[4][0], [requests[4][1]])
    assert (status, headers["retry-after"]) == (503, "5")
    release.set()
    assert [answer[0] for answer in await asyncio.gather(*held)] == [204] * asgi.TOGETHER
    assert (await front.request(requests[5][0], [requests[5][1]]))[0] == 204


async def test_a_request_that_does_not_go_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "PATIENCE", 0.05)
    front, _ = server()
    assert (await front.request(signed(an_event())[0], [b"a"], silent=True))[0] == 408


async def test_a_body_that_comes_fast_enough_gets_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "PATIENCE", 1.0)
    monkeypatch.setattr(asgi, "SLOWEST", 10)
    front, _ = server()
    headers, body = signed(an_event(body=bytes(600)))
    parts = [body[start : start + 100] for start in range(0, 600, 100)]
    assert (await front.request(headers, parts, pause=0.3))[0] == 204


async def test_a_sender_who_leaves_is_not_answered() -> None:
    front, got = server()
    assert (await front.request(signed(an_event())[0], [b"a"], gone=True))[0] == 0
    assert not got


@pytest.mark.parametrize(("raised", "status"), [(SinkError("no"), 500), (StoppingError("bye"), 503)])
async def test_what_was_not_taken_is_answered_5xx_without_a_reason(raised: Exception, status: int) -> None:
    async def handler(_: Received) -> None:
        raise raised

    front, _ = server(handler)
    headers, body = signed(an_event())
    answer = await front.request(headers, [body])
    assert (answer[0], answer[2]) == (status, b"")


async def test_a_handlers_own_error_is_the_servers_to_report() -> None:
    async def handler(_: Received) -> None:
        raise ZeroDivisionError

    front, _ = server(handler)
    headers, body = signed(an_event())
    with pytest.raises(ZeroDivisionError):
        await front.request(headers, [body])


async def test_other_paths_and_kinds_are_the_applications() -> None:
    front, got = server()
    headers, body = signed(an_event())
    await front.request(headers, [body], path="/other")
    lifespan: Scope = {"type": "lifespan"}
    await front.app(lifespan, _nothing, _unsent)
    assert [scope["type"] for scope in front.others] == ["http", "lifespan"]
    assert not got


async def _nothing() -> Message:
    raise AssertionError


async def _unsent(_message: Message) -> None:
    raise AssertionError


async def test_without_a_path_every_path_is_the_webhooks() -> None:
    front, got = server(path=None)
    headers, body = signed(an_event())
    await front.request(headers, [body], path="/anything")
    assert len(got) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_told_which_there_are(method: str) -> None:
    status, headers, _ = await server()[0].request(method=method)
    assert (status, headers["allow"]) == (405, "OPTIONS, POST")


async def test_the_handshake_of_abuse_protection_is_granted() -> None:
    asked = {"webhook-request-origin": "iso.example", "webhook-request-rate": "120"}
    status, headers, _ = await server()[0].request(asked, method="OPTIONS")
    assert status == 200
    assert headers["webhook-allowed-origin"] == "iso.example"
    assert headers["webhook-allowed-rate"] == "*"


async def test_the_handshake_may_be_granted_to_some_only() -> None:
    front, _ = server(origins=["iso.example"])
    status, headers, _ = await front.request({"webhook-request-origin": "ISO.example"}, method="OPTIONS")
    assert (status, headers["webhook-allowed-origin"]) == (200, "ISO.example")
    status, headers, _ = await front.request({"webhook-request-origin": "evil.example"}, method="OPTIONS")
    assert status == 403
    assert "webhook-allowed-origin" not in headers


async def test_options_without_a_handshake_tell_the_methods() -> None:
    status, headers, _ = await server()[0].request(method="OPTIONS")
    assert (status, headers) == (204, {"allow": "OPTIONS, POST"})
