"""Every way in which a receiver fails to answer, each made by a real socket, has its own name."""

import asyncio
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour, Receivers
from claimbus.events.tls import server_context
from consumers.addresses import AddressGuard
from tests.consumers.webhooks import ANY_PORT, Serve, Settings, post, request, serving, webhook, webhook_to
from tests.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.server("server", "127.0.0.1"))


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request(reader)
        writer.write(OK)
        await writer.drain()


def break_off(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_forbidden_address_is_not_connected_to(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver, guard=AddressGuard(ports=ANY_PORT)) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("refused-address", False)
    assert "127.0.0.1 is loopback" in answer.detail
    assert receiver.received == []


async def test_a_name_without_an_address(authority: Authority) -> None:
    async with webhook("https://nowhere.invalid/", ca_pem=authority.ca_pem) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("dns", False)


async def test_a_refused_connection(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="down"))
    async with webhook_to(receiver) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("connect", False)
    assert answer.detail == "connect: Connection refused (os error 111)"


async def test_a_handshake_that_never_comes_ends_with_the_connect_timeout(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with webhook(url, ca_pem=authority.ca_pem, connect_timeout=0.2) as hook:
            answer = await post(hook)
    assert (answer.failure, answer.sent) == ("connect", False)


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1", not_after=datetime(2021, 1, 1, tzinfo=UTC))


def misnamed(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.2")


def forged(_: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize(
    ("issue", "reason"), [(expired, "expired"), (misnamed, "not valid for name"), (forged, "UnknownIssuer")]
)
async def test_a_certificate_that_proves_nothing(
    issue: Callable[[trustme.CA], trustme.LeafCert], reason: str
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue(authority).configure_cert(tls)
    async with serving(accept, tls) as url, webhook(url, ca_pem=authority.cert_pem.bytes()) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("tls", False)
    assert reason in answer.detail


async def test_a_server_below_tls_1_2_is_refused(authority: Authority, tls: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
        tls.set_ciphers("DEFAULT@SECLEVEL=0")
        old = ssl.create_default_context(cafile=authority.ca)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.set_ciphers("DEFAULT@SECLEVEL=0")
    async with serving(accept, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        port = int(url.split(":")[2].partition("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.close()
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("tls", False)


@contextmanager
def demanding(context: ssl.SSLContext) -> Iterator[str]:
    """A server that, unlike asyncio's, sends its alert before it closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            wrapped = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            with suppress(ssl.SSLError):
                wrapped.do_handshake()
            with socket.socket(fileno=wrapped.detach()) as raw:
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_misses_our_certificate(
    authority: Authority, tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    tls.load_verify_locations(authority.ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.minimum_version = tls.maximum_version = version
    with demanding(tls) as url:
        async with webhook(url, ca_pem=authority.ca_pem) as hook:
            answer = await post(hook)
    assert (answer.failure, answer.sent) == ("tls", False)
    assert "received fatal alert" in answer.detail


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_an_answer_that_takes_too_long_ends_with_the_total_timeout(
    receivers: Receivers, kind: str
) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind=kind, seconds=0.5))  # type: ignore[arg-type]
    async with webhook_to(receiver, timeout=2.0) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("timeout", True)
    assert answer.duration_ms >= 2000
    assert len(receiver.received) == 1


async def test_a_reset(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="reset"))
    async with webhook_to(receiver) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("reset", True)


async def test_a_connection_closed_instead_of_an_answer(authority: Authority, tls: ssl.SSLContext) -> None:
    async def close(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async with serving(close, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("reset", True)


async def test_an_answer_that_is_no_http(authority: Authority, tls: ssl.SSLContext) -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)
        await writer.drain()

    async with serving(chatter, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("protocol", True)


@pytest.mark.parametrize("ending", ["cut", "dripping"])
async def test_a_status_counts_even_if_its_body_is_broken(
    authority: Authority, tls: ssl.SSLContext, ending: str
) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
        await writer.drain()
        while ending == "dripping":
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(begin, tls) as url, webhook(url, ca_pem=authority.ca_pem, timeout=2.0) as hook:
        answer = await post(hook)
    assert (answer.status, answer.failure) == (200, None)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"Mon, 01 Jan 2024 00:00:00 +99999999999999", b""])
async def test_a_hostile_header_does_not_hide_the_status(
    authority: Authority, tls: ssl.SSLContext, value: bytes
) -> None:
    async def spoil(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 503 \xff\r\nretry-after: " + value + b"\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with serving(spoil, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        answer = await post(hook)
    assert (answer.status, answer.retry_after) == (503, None)


async def test_all_connections_busy(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="hang"))
    async with webhook_to(receiver, concurrency=1, connect_timeout=0.2, timeout=0.6) as hook:
        answers = await asyncio.gather(post(hook), post(hook))
    assert sorted((answer.failure or "", answer.sent) for answer in answers) == [
        ("busy", False),
        ("timeout", True),
    ]
    assert len(receiver.received) == 1


async def test_closing_ends_what_is_under_way(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="hang"))
    async with webhook_to(receiver) as hook:
        posting = asyncio.create_task(post(hook))
        await eventually(lambda: receiver.received)
        await hook.aclose()
        assert (await posting).failure == "closed"
        assert (await post(hook)).failure == "closed"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"identity_pem": b"junk"}, "identity_pem"),
        ({"ca_pem": None}, "No CA certificates were loaded from the system"),
        ({"ca_pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "BadEncoding"),
    ],
)
async def test_unusable_certificates_are_our_own_fault(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch, settings: Settings, reason: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver, **settings) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("configuration", False)
    assert reason in answer.detail


async def test_a_connection_that_the_server_closed_while_idle_is_replaced(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    closed: asyncio.Queue[None] = asyncio.Queue()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        writer.close()
        await writer.wait_closed()
        closed.put_nowait(None)

    async with serving(once, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        for _ in range(5):
            assert (await post(hook)).status == 200
            await closed.get()


async def test_a_close_that_crosses_the_next_request_is_a_reset(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    async def crossing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(1)
        break_off(writer)

    async with serving(crossing, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
        assert [(await post(hook)).status, (await post(hook)).failure] == [200, "reset"]


async def test_a_proxy_in_the_environment_is_not_used(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver) as hook:
        assert (await post(hook)).status == 204


async def test_no_detail_shows_the_url(authority: Authority, tls: ssl.SSLContext) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        break_off(writer)

    serves: Sequence[Serve] = (accept, close)
    details = []
    for serve in serves:
        async with serving(serve, tls) as url, webhook(url, ca_pem=authority.ca_pem) as hook:
            details.append((await post(hook)).detail)
    async with webhook("https://127.0.0.1:9/a-secret-path", ca_pem=authority.ca_pem) as hook:
        details.append((await post(hook)).detail)
    assert not [detail for detail in details if "secret" in detail]
