"""Bodies that are fetched, from a server that breaks off, repeats itself or lies."""

import asyncio
import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.subscribers import BodyRefusedError, BodyUnavailableError
from claimbus.subscribers import claims as fetching
from claimbus.subscribers.address import Identity
from claimbus.subscribers.claims import Claims
from claimbus.subscribers.received import MAX_BODY
from tests.subscribers.portals import Bodies
from tests.waiting import eventually

BODY = secrets.token_bytes(3_000_000)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.001)


@pytest.fixture
async def bodies(certificates: Path) -> AsyncIterator[Bodies]:
    bodies = Bodies(certificates, BODY)
    async with bodies.listening():
        yield bodies


def claims_of(
    bodies: Bodies, *, port: int | None = None, ca: str = "ca.pem", max_body: int = MAX_BODY
) -> Claims:
    identity = Identity(
        ca_file=bodies.certificates / ca,
        certificate_file=bodies.certificates / "client.pem",
        token="clb_secret",
    )
    return Claims(f"https://localhost:{port or bodies.port}", identity, max_body=max_body)


async def fetched(bodies: Bodies, dataref: str = "/v1/claims/c1", claims: Claims | None = None) -> bytes:
    async with aclosing(claims or claims_of(bodies)) as using:
        return b"".join([chunk async for chunk in using.chunks(dataref)])


async def test_what_nobody_asked_for_is_no_answer_to_the_next_question(bodies: Bodies) -> None:
    bodies.keeps, bodies.body = True, b"another body"
    bodies.unasked = bodies.response("").serialize()
    bodies.body = b"the body"
    async with aclosing(claims_of(bodies)) as claims:
        for _ in range(3):
            assert b"".join([chunk async for chunk in claims.chunks("/v1/claims/c1")]) == b"the body"


async def test_a_body_is_fetched_with_our_certificate_and_token(bodies: Bodies) -> None:
    assert await fetched(bodies) == BODY
    (head,) = bodies.heads
    assert "authorization: bearer clb_secret\r\n" in head
    assert "accept-encoding" not in head


async def test_what_we_show_is_for_the_portal_alone(bodies: Bodies) -> None:
    another = claims_of(bodies, port=1)
    with pytest.raises(BodyRefusedError, match=f"leads to https://localhost:{bodies.port}, .*:1 alone"):
        await fetched(bodies, bodies.url, another)
    assert not bodies.heads
    assert bodies.handshakes == 0  # so it has not seen our certificate either
    assert await fetched(bodies, bodies.url) == BODY


async def test_nobody_is_trusted_whom_the_stream_would_not_trust(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system trusts the server's authority; ``--ca`` names another one, instead of those."""
    monkeypatch.setenv("SSL_CERT_FILE", str(bodies.certificates / "ca.pem"))
    trusting = Claims(bodies.url, Identity(certificate_file=bodies.certificates / "client.pem"))
    assert await fetched(bodies, claims=trusting) == BODY
    with pytest.raises(BodyUnavailableError, match="certificate is not trusted"):
        await fetched(bodies, claims=claims_of(bodies, ca="other-ca.pem"))
    assert len(bodies.heads) == 1


async def test_a_body_that_is_too_large_is_refused_as_announced_or_as_it_comes(bodies: Bodies) -> None:
    assert await fetched(bodies, claims=claims_of(bodies, max_body=len(BODY))) == BODY
    for bodies.announced in (True, False):
        with pytest.raises(BodyRefusedError, match="more than 2999999 bytes"):
            await fetched(bodies, claims=claims_of(bodies, max_body=len(BODY) - 1))
    assert len(bodies.heads) == 3


async def test_a_large_body_goes_on_where_it_was_cut(bodies: Bodies) -> None:
    bodies.body, mib = secrets.token_bytes(1024 * 1024) * 64, 1024 * 1024
    bodies.breaks.append(60 * mib)
    digest, size = hashlib.sha256(), 0
    async with aclosing(claims_of(bodies)) as claims:
        async for chunk in claims.chunks("/v1/claims/c1"):
            digest.update(chunk)
            size += len(chunk)
    assert (size, digest.digest()) == (64 * mib, hashlib.sha256(bodies.body).digest())
    assert f"range: bytes={60 * mib}-" in bodies.heads[1]


async def test_bodies_come_one_after_another_over_one_connection(bodies: Bodies) -> None:
    bodies.keeps = True
    async with aclosing(claims_of(bodies)) as claims:
        for _ in range(3):
            assert b"".join([chunk async for chunk in claims.chunks("/v1/claims/c1")]) == BODY
    assert (bodies.handshakes, len(bodies.heads)) == (1, 3)


@pytest.mark.parametrize("user", ["", "me:p%40ss@"])
async def test_a_body_is_fetched_through_the_environments_proxy(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    heads: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        there, back = await asyncio.open_connection("127.0.0.1", bodies.port)
        writer.write(b"HTTP/1.1 200 go on\r\n\r\n")
        with suppress(ConnectionError):
            await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        assert await fetched(bodies) == BODY
    assert heads[0].startswith(f"CONNECT localhost:{bodies.port} HTTP/1.1\r\n")
    assert ("Basic bWU6cEBzcw==" in heads[0]) == bool(user)
    assert "clb_secret" not in heads[0]


async def test_a_fetch_that_is_cancelled_leaves_nothing_open(bodies: Bodies) -> None:
    bodies.silent = True
    claims = claims_of(bodies)
    fetching_it = asyncio.create_task(anext(claims.chunks("/v1/claims/c1")))
    await eventually(lambda: bodies.heads)
    fetching_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching_it


@pytest.mark.parametrize(
    "dataref",
    ["http://[", "ftp://localhost/c1", "file:///etc/passwd", "https://localhost:99999/", "/a b", "/é"],
)
async def test_what_leads_nowhere_is_refused(bodies: Bodies, dataref: str) -> None:
    with pytest.raises(BodyRefusedError):
        await fetched(bodies, dataref)


async def test_a_body_over_plain_http_is_refused(bodies: Bodies) -> None:
    with pytest.raises(BodyRefusedError, match=f"leads to http://localhost:{bodies.port}"):
        await fetched(bodies, f"http://localhost:{bodies.port}/v1/claims/c1")
    assert not bodies.heads


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_connection_that_breaks_is_resumed(bodies: Bodies, ranges: bool) -> None:
    bodies.ranges = ranges
    bodies.breaks.extend([1_000_000, 1_500_000 if not ranges else 1, 0])
    assert await fetched(bodies) == BODY
    assert len(bodies.heads) == 4
    assert "range" not in bodies.heads[0]
    assert "range: bytes=" in bodies.heads[1]


async def test_progress_is_made_for_as_long_as_there_is_any(bodies: Bodies) -> None:
    bodies.breaks.extend([BODY.__len__() // 20] * (3 * fetching.TRIES))
    assert await fetched(bodies) == BODY


async def test_without_any_progress_it_is_given_up(bodies: Bodies) -> None:
    bodies.breaks.extend([100_000, *[0] * 100])
    with pytest.raises(BodyUnavailableError, match="no more than 100000 bytes"):
        await fetched(bodies)
    assert len(bodies.heads) == fetching.TRIES


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_portal_that_cannot_now_is_asked_again(bodies: Bodies, status: int) -> None:
    bodies.status = status
    with pytest.raises(BodyUnavailableError, match=str(status)):
        await fetched(bodies)
    assert len(bodies.heads) == fetching.TRIES


@pytest.mark.parametrize("status", [302, 401, 403, 404, 410])
async def test_a_portal_that_will_not_is_not_asked_again(bodies: Bodies, status: int) -> None:
    bodies.status = status
    with pytest.raises(BodyRefusedError, match=str(status)):
        await fetched(bodies)
    assert len(bodies.heads) == 1


@pytest.mark.parametrize("digest", [None, "of something else"])
async def test_a_body_without_its_digest_is_refused(bodies: Bodies, digest: str | None) -> None:
    bodies.digest = digest
    with pytest.raises(BodyRefusedError):
        await fetched(bodies)


async def test_a_body_that_changes_while_it_is_fetched_is_refused(bodies: Bodies) -> None:
    bodies.breaks.append(1_000_000)
    claims = claims_of(bodies)
    with pytest.raises(BodyRefusedError, match="changed"):  # noqa: PT012
        async for _ in claims.chunks("/v1/claims/c1"):
            bodies.body = BODY[::-1]
    await claims.aclose()


async def test_an_unusable_certificate_is_told(bodies: Bodies) -> None:
    claims = Claims(bodies.url, Identity(certificate_file=bodies.certificates / "ca.pem"))
    with pytest.raises(BodyUnavailableError, match="certificate_file"):
        _ = [chunk async for chunk in claims.chunks(bodies.url)]


async def test_memory_stays_flat(bodies: Bodies) -> None:
    bodies.body = bytes(64 * 1024 * 1024)
    url = f"https://localhost:{bodies.port}"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GROWTH,
        url,
        bodies.certificates / "ca.pem",
        bodies.certificates / "client.pem",
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await child.communicate()
    size, grown_kib = map(int, told.split())
    assert size == len(bodies.body)
    assert grown_kib < 32 * 1024


GROWTH = """
import asyncio, resource, sys
from pathlib import Path
from claimbus.subscribers.address import Identity
from claimbus.subscribers.claims import Claims

async def fetch():
    url, ca, certificate = sys.argv[1:]
    identity = Identity(ca_file=Path(ca), certificate_file=Path(certificate))
    claims = Claims(url, identity)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 0
    async for chunk in claims.chunks("/v1/claims/c1"):
        size += len(chunk)
    print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    await claims.aclose()

asyncio.run(fetch())
"""


@given(
    size=st.integers(0, 300_000), breaks=st.lists(st.integers(0, 100_000), max_size=4), ranges=st.booleans()
)
def test_wherever_it_breaks_the_body_is_whole(
    certificates: Path, size: int, breaks: list[int], ranges: bool
) -> None:
    async def check() -> None:
        bodies = Bodies(certificates, BODY[:size])
        bodies.ranges = ranges
        bodies.breaks.extend(breaks)
        async with bodies.listening():
            assert await fetched(bodies) == bodies.body

    asyncio.run(check())
