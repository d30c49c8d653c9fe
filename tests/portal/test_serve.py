"""The listener: what TLS lets in, how it ends, and what it says of its health."""

import asyncio
import hashlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from claimbus.cli.settings import Settings
from claimbus.database import endpoints
from claimbus.database.access import Role
from claimbus.events.errors import ConfigurationError, UnavailableError
from claimbus.events.event import ALL
from claimbus.events.stream import SUBPROTOCOL, CloseCode
from claimbus.events.tls import client_context
from claimbus.portal import health
from claimbus.portal.protocols import HttpProtocol
from claimbus.portal.serve import serve
from claimstore.claim import CheckedIn
from tests.claimstore.samples import an_event, noise
from tests.events.test_tls import answer, listening, only_tls_1_1
from tests.portal.portals import ACT, Portal, identity, subject_of
from tests.portal.processes import PortalProcess, portal_process
from tests.waiting import eventually

MIB = 1 << 20


@pytest.fixture
async def process(portal: Portal, settings: Settings, tmp_path: Path) -> AsyncIterator[PortalProcess]:
    """A second portal on the same servers, with the same certificate, as a process."""
    async with portal_process(settings, tmp_path / "portal.pem") as process:
        yield process


def authority_file(portal: Portal, directory: Path) -> Path:
    file = directory / "ca.pem"
    portal.ca.cert_pem.write_to_path(file)
    return file


async def test_everybody_may_ask_whether_it_lives_and_is_ready(portal: Portal) -> None:
    assert (await portal.get("/healthz")).json == {"status": "ok"}
    ready = await portal.get("/readyz")
    assert (ready.status, ready.json) == (200, {"database": True, "redis": True, "rabbitmq": True})


async def test_however_many_ask_the_services_behind_it_are_asked_once(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask; that must not become a load on Redis, RabbitMQ and the database."""
    monkeypatch.setattr(health, "KEPT_FOR", 60.0)
    looks = 0

    async def ping() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(portal.services.store, "ping", ping)
    answers = await asyncio.gather(*(portal.get("/readyz") for _ in range(20)))
    assert {one.status for one in answers} == {200}
    assert looks == 1


async def test_what_it_says_of_its_readiness_is_not_older_than_a_moment(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "KEPT_FOR", 0.05)
    assert (await portal.get("/readyz")).status == 200
    await portal.services.store.aclose()

    async def is_not_ready() -> bool:
        got = await portal.get("/readyz")
        return (got.status, got.json["redis"], got.json["rabbitmq"]) == (503, False, True)

    await eventually(is_not_ready)


async def test_it_is_ready_once_requests_are_answered(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not while the streams, say, still wait for RabbitMQ."""
    said: list[str] = []
    beginning, may_begin, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow(_: object) -> AsyncIterator[None]:
        beginning.set()
        await may_begin.wait()
        yield

    monkeypatch.setattr(portal.services.streams, "running", slow)
    serving = asyncio.create_task(
        serve(portal.services, listen="127.0.0.1:0", certificate_file=None, stop=stop, ready=said.append)
    )
    await beginning.wait()
    assert not said
    may_begin.set()
    await eventually(lambda: said)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(said[0]).port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b"200 OK" in await reader.read()
    writer.close()
    stop.set()
    await serving


async def test_a_portal_that_cannot_begin_says_why_and_is_never_ready(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def failing(_: object) -> AsyncIterator[None]:
        raise UnavailableError("RabbitMQ is away")
        yield

    monkeypatch.setattr(portal.services.streams, "running", failing)
    with pytest.raises(UnavailableError, match="RabbitMQ is away"):
        await serve(
            portal.services,
            listen="127.0.0.1:0",
            certificate_file=None,
            stop=asyncio.Event(),
            ready=said.append,
        )
    assert not said


async def test_a_systems_producer_is_made_once(portal: Portal) -> None:
    producer = portal.services.producer
    assert producer("oms") is producer("oms") is not producer("market")


async def test_metrics_are_for_operators(portal: Portal) -> None:
    portal.participant("PGAE")
    assert (await portal.get("/metrics")).status == 401
    assert (await portal.get("/metrics", token=portal.token_of("PGAE"))).status == 403
    assert (await portal.get("/metrics", token=portal.token(Role.OPERATOR))).status == 200


async def test_its_interface_is_documented(portal: Portal) -> None:
    page = await portal.get("/docs")
    assert page.status == 200
    for told in (b"GET /v1/claims/{claim_id}", b"POST /v1/events", b"There never was such a claim"):
        assert told in page.body
    assert b"<script" not in page.body
    assert b"//" not in page.body, "it needs nothing from elsewhere"
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    paths = (await portal.get("/openapi.json")).json["paths"]
    assert {"get", "head"} <= paths["/v1/claims/{claim_id}"].keys()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2", 404), ("DELETE", "/healthz", 405)])
async def test_every_error_is_a_problem_document(portal: Portal, method: str, path: str, status: int) -> None:
    got = await portal.ask(method, path)
    assert (got.status, got.headers["content-type"]) == (status, "application/problem+json")
    assert got.json["status"] == status
    assert got.json["title"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_a_client_that_speaks_an_old_version_of_tls_is_refused(
    portal: Portal, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    old = only_tls_1_1(ssl.create_default_context(cafile=authority_file(portal, tmp_path)))
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.load_cert_chain(tmp_path / "portal.pem")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = version
    with listening(only_tls_1_1(lax)) as port:
        said, spoken = await asyncio.to_thread(answer, old, port)  # so the client could
    assert (said, spoken) == (b"served", {"TLSv1": "TLSv1", "TLSv1_1": "TLSv1.1"}[version.name])
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # asyncio drops the alert sometimes
        await asyncio.open_connection("127.0.0.1", urlsplit(portal.url).port, ssl=old)


async def test_a_renewed_certificate_is_shown_without_a_restart(portal: Portal, tmp_path: Path) -> None:
    def shown() -> str:
        address = ("127.0.0.1", urlsplit(portal.url).port or 0)
        return ssl.get_server_certificate(address)

    first = await asyncio.to_thread(shown)
    assert await asyncio.to_thread(shown) == first
    portal.ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "portal.pem")
    assert await asyncio.to_thread(shown) != first
    (tmp_path / "portal.pem").write_text("half a certificate")
    assert await asyncio.to_thread(shown) != first  # the one of before


@pytest.mark.parametrize(
    ("listen", "certificate", "setting"),
    [
        ("8443", None, "portal_listen"),
        ("nowhere.invalid:1", None, "portal_listen"),
        ("127.0.0.1:99999", None, "portal_listen"),
        ("127.0.0.1:1/path", None, "portal_listen"),
        ("0.0.0.0:0", None, "portal_certificate_file"),
        (":0", None, "portal_certificate_file"),
        ("127.0.0.1:0", Path("none.pem"), "portal_certificate_file"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_its_name(
    portal: Portal, listen: str, certificate: Path | None, setting: str
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        await serve(portal.services, listen=listen, certificate_file=certificate, stop=asyncio.Event())
    assert wrong.value.field == setting


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_is_seen_by_requests_and_streams(
    portal: Portal, settings: Settings, tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    """On the event loop that it has in production."""
    portal.participant("PGAE")
    portal.known(subject_of("daemon"), Role.PARTICIPANT, participant="PGAE")
    ca = trustme.CA()
    await portal.trusted(ca)
    shown = tmp_path / "daemon.pem"
    shown.write_bytes(identity(ca, "daemon"))
    async with portal_process(settings, tmp_path / "portal.pem") as process:
        for certificate, status, code in (
            (shown, 404, CloseCode.NOT_ENTITLED),
            (None, 401, CloseCode.UNAUTHENTICATED),
        ):
            tls = client_context(ca_file=authority_file(portal, tmp_path), certificate_file=certificate)
            tls.maximum_version = newest
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port, ssl=tls)
            writer.write(b"GET /v1/claims/none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).startswith(f"HTTP/1.1 {status} ".encode())
            writer.close()
            await writer.wait_closed()
            stream = f"wss://127.0.0.1:{process.port}/v1/endpoints/none/stream"
            async with connect(stream, ssl=tls, subprotocols=[Subprotocol(SUBPROTOCOL)]) as websocket:
                with pytest.raises(ConnectionClosed):
                    await websocket.recv()
                assert websocket.close_code == code


async def test_a_stop_lets_a_download_end(portal: Portal, process: PortalProcess, tmp_path: Path) -> None:
    portal.participant("PGAE")
    token, body = portal.token_of("PGAE"), noise(32 * MIB)
    place = await large_claim(portal, body)
    tls = client_context(ca_file=authority_file(portal, tmp_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port, ssl=tls)
    request = f"GET /v1/claims/{place.claim_id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    process.terminate()

    def is_closed() -> bool:
        with socket.socket() as other:
            return other.connect_ex(("127.0.0.1", process.port)) != 0

    await eventually(is_closed)
    assert await reader.readexactly(len(body)) == body
    writer.close()
    await process.process.wait()
    assert process.process.returncode == 0, "".join(process.log)


async def test_a_body_of_64_mib_takes_less_than_32_mib_of_memory(
    portal: Portal, process: PortalProcess, tmp_path: Path
) -> None:
    portal.participant("PGAE")
    token = portal.token_of("PGAE")
    body = noise(64 * MIB)
    place = await large_claim(portal, body)
    portal.url, own = process.url, portal.url
    small = await portal.claim()
    for _ in range(20):
        assert (await portal.get(f"/v1/claims/{small.claim_id}", token=token)).status == 200
    before = process.memory()
    got = await portal.get(f"/v1/claims/{place.claim_id}", token=token)
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()
    assert process.memory() - before < 32 * MIB
    portal.url = own


async def connected(portal: Portal, directory: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = client_context(ca_file=authority_file(portal, directory))
    return await asyncio.open_connection("127.0.0.1", urlsplit(portal.url).port, ssl=tls, limit=1024)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"x-more: of it\r\n"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", b"G"),
        (b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n", b"one more byte"),
    ],
)
async def test_who_asks_nothing_does_not_keep_a_connection(
    portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(HttpProtocol, "head_within", 0.3)
    reader, writer = await connected(portal, tmp_path)
    writer.write(first)

    async def is_closed() -> bool:
        writer.write(then)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.05):
                return not await reader.read(100_000)
        return writer.is_closing()

    await eventually(is_closed)
    writer.close()


async def test_a_stream_outlasts_the_patience_for_a_request(
    portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpProtocol, "head_within", 0.3)
    portal.participant("PGAE")
    token = portal.token_of("PGAE")
    with portal.services.database.transaction() as sql:
        endpoint = endpoints.add(sql, "PGAE", ACT, name="daemon", kind="stream", subscriptions=["#"])
    reader, writer = await connected(portal, tmp_path)  # one who waits beside it tells when time is over
    stream = f"{portal.url.replace('https', 'wss')}/v1/endpoints/{endpoint.id}/stream"
    tls = client_context(ca_file=authority_file(portal, tmp_path))
    bearer = {"authorization": f"Bearer {token}"}
    async with connect(
        stream, ssl=tls, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=bearer, proxy=None
    ) as websocket:
        for _ in range(2):
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            reader, writer = await connected(portal, tmp_path)
        await (await websocket.ping())
    writer.close()


async def test_who_does_not_read_the_answer_gets_no_more_of_it(
    portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpProtocol, "read_within", 0.3)
    portal.participant("PGAE")
    place = await large_claim(portal, noise(32 * MIB))
    reader, writer = await connected(portal, tmp_path)
    request = f"GET /v1/claims/{place.claim_id} HTTP/1.1\r\nhost: x\r\n"
    writer.write(f"{request}authorization: Bearer {portal.token_of('PGAE')}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    waiting = [task for task in asyncio.all_tasks() if "run_asgi" in str(task.get_coro())]
    assert waiting
    await eventually(lambda: all(task.done() for task in waiting))
    writer.transport.abort()


async def large_claim(portal: Portal, body: bytes) -> CheckedIn:
    return await portal.services.store.check_in(an_event(body=body, audience=ALL))
