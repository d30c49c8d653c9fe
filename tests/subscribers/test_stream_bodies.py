"""Bodies that are fetched, from a server that breaks off, repeats itself or lies."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.subscribers import claims as fetching
from claimbus.subscribers.address import Address, Identity
from claimbus.subscribers.claims import BodyRefusedError, BodyUnavailableError, Claims
from tests.subscribers.portals import Bodies

BODY = secrets.token_bytes(3_000_000)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.001)


@pytest.fixture
async def bodies(certificates: Path) -> AsyncIterator[Bodies]:
    bodies = Bodies(certificates, BODY)
    async with bodies.listening():
        yield bodies


def claims_of(bodies: Bodies, *, token: str | None = None) -> Claims:
    identity = Identity(
        ca_file=bodies.certificates / "ca.pem",
        certificate_file=bodies.certificates / "client.pem",
        token=token,
    )
    return Claims(Address(url=f"wss://localhost:{bodies.port}", endpoint_id="ep_1"), identity)


async def fetched(bodies: Bodies, dataref: str = "/v1/claims/c1") -> bytes:
    claims = claims_of(bodies, token="clb_secret")
    try:
        return b"".join([chunk async for chunk in claims.chunks(dataref)])
    finally:
        await claims.aclose()


async def test_a_body_is_fetched_with_our_certificate_and_token(bodies: Bodies) -> None:
    assert await fetched(bodies) == BODY
    (head,) = bodies.heads
    assert "authorization: bearer clb_secret\r\n" in head
    assert "accept-encoding" not in head


async def test_a_body_elsewhere_is_fetched_without_the_token(bodies: Bodies) -> None:
    claims = Claims(
        Address(url="wss://localhost:1", endpoint_id="ep_1"),
        Identity(
            ca_file=bodies.certificates / "ca.pem",
            certificate_file=bodies.certificates / "client.pem",
            token="clb_secret",
        ),
    )
    assert b"".join([chunk async for chunk in claims.chunks(bodies.url)]) == BODY
    assert "authorization" not in bodies.heads[0]
    await claims.aclose()


@pytest.mark.parametrize("dataref", ["http://[", "ftp://localhost/c1", "file:///etc/passwd"])
async def test_what_leads_nowhere_is_refused(bodies: Bodies, dataref: str) -> None:
    with pytest.raises(BodyRefusedError):
        await fetched(bodies, dataref)


async def test_a_body_over_plain_http_is_refused(bodies: Bodies) -> None:
    with pytest.raises(BodyRefusedError, match="https://"):
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
    claims = Claims(
        Address(url="wss://localhost:1", endpoint_id="ep_1"),
        Identity(certificate_file=bodies.certificates / "ca.pem"),
    )
    with pytest.raises(BodyUnavailableError, match="no certificate"):
        _ = [chunk async for chunk in claims.chunks(bodies.url)]


async def test_memory_stays_flat(bodies: Bodies) -> None:
    bodies.body = bytes(64 * 1024 * 1024)
    url = f"wss://localhost:{bodies.port}"
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
from claimbus.subscribers.address import Address, Identity
from claimbus.subscribers.claims import Claims

async def fetch():
    url, ca, certificate = sys.argv[1:]
    identity = Identity(ca_file=Path(ca), certificate_file=Path(certificate))
    claims = Claims(Address(url=url, endpoint_id="ep_1"), identity)
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
