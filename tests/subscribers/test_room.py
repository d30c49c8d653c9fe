"""Strangers who hold places, and the ISO that gets in all the same: over real sockets."""

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.tls import client_context
from claimbus.subscribers import Received, WebhookMiddleware, asgi, listener
from claimbus.subscribers.listener import Listener, nothing_here
from claimbus.subscribers.room import Peers, Place, Room, peer_of
from tests.subscribers.sender import SECRET, an_event, signed
from tests.waiting import eventually

ISO, STRANGER = "127.0.0.1", "127.0.0.2"
MAX_BODY = 200_000


@dataclass
class Receiver:
    """A listener with its webhooks, and the connections that strangers keep open."""

    url: str
    ca: Path
    got: list[Received] = field(default_factory=list)
    kept: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    async def stall(self, sent: bytes = b"", *, address: str = STRANGER, tls: bool = True) -> None:
        """Connect, send something and nothing more."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            local_addr=(address, 0),
            ssl=client_context(ca_file=self.ca) if tls else None,
            server_hostname="localhost" if tls else None,
        )
        self.kept.append(writer)
        writer.write(sent)
        await writer.drain()

    async def post(self, number: int, *, size: int = 100) -> int:
        """Post a signed event as the ISO does; the answer's status."""
        headers, body = signed(an_event(number, body=bytes(size)))

        def ask() -> int:
            connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=20, context=client_context(ca_file=self.ca)
            )
            try:
                connection.request("POST", "/", body, dict(headers))
                return connection.getresponse().status
            finally:
                connection.close()

        return await asyncio.to_thread(ask)


def stalled(size: int) -> bytes:
    """What begins like a signed request, with all of its body but the last byte."""
    headers, _ = signed(an_event())
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST / HTTP/1.1", "host: x", f"content-length: {size + 1}", *lines, "", ""])
    return head.encode() + bytes(size)


@asynccontextmanager
async def _receiving(certificates: Path) -> AsyncIterator[Receiver]:
    peers, stop = Peers(), asyncio.Event()
    listening = Listener("127.0.0.1", 0, certificate_file=certificates / "server.pem", peers=peers)
    receiver = Receiver(listening.url, certificates / "ca.pem")

    async def keep(event: Received) -> None:
        receiver.got.append(event)

    app = WebhookMiddleware(
        nothing_here, path=None, secrets=[SECRET], handler=keep, max_body=MAX_BODY, peers=peers
    )
    serving = asyncio.create_task(listening.serve(app, stop))
    try:
        yield receiver
    finally:
        for writer in receiver.kept:
            writer.transport.abort()
        stop.set()
        await serving
        listening.close()


@pytest.fixture
async def receiver(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 8)
    async with _receiving(certificates) as receiver:
        yield receiver


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n", stalled(10), stalled(0)])
async def test_who_connects_and_sends_slowly_keeps_no_one_out(receiver: Receiver, sent: bytes) -> None:
    for round_ in range(3):
        for _ in range(8):
            with suppress(ConnectionError, ssl.SSLError):
                await receiver.stall(sent)
        assert await receiver.post(round_) == 204


async def test_who_never_ends_a_handshake_keeps_no_one_out(receiver: Receiver) -> None:
    for _ in range(20):
        await receiver.stall(tls=False)
    assert await receiver.post(1) == 204


async def test_bodies_that_are_not_ended_keep_no_one_out(receiver: Receiver) -> None:
    for round_ in range(2):
        for _ in range(asgi.TOGETHER + 1):
            await receiver.stall(stalled(MAX_BODY - 1))
        assert await receiver.post(2 * round_) == 204
        assert await receiver.post(2 * round_ + 1, size=MAX_BODY) == 204


async def test_behind_one_address_the_oldest_body_that_is_not_ended_gives_way(receiver: Receiver) -> None:
    for _ in range(asgi.TOGETHER):
        await receiver.stall(stalled(MAX_BODY - 1), address=ISO)
    assert await receiver.post(1, size=MAX_BODY) == 204


async def test_who_is_dropped_is_told_to_come_again(receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", receiver.port, ssl=client_context(ca_file=receiver.ca), server_hostname="localhost"
    )
    writer.write(stalled(MAX_BODY - 1))
    await writer.drain()
    for _ in range(asgi.TOGETHER):
        await receiver.stall(stalled(MAX_BODY - 1), address=ISO)
    assert b" 503 " in await asyncio.wait_for(reader.readline(), 20)
    writer.transport.abort()


async def test_connections_that_end_make_room(receiver: Receiver) -> None:
    for number in range(20):  # all of a peer that is known by then, none of which could be dropped
        assert await receiver.post(number) == 204
    await eventually(lambda: len(receiver.got) == 20)


def test_an_ipv6_host_is_one_peer_with_all_its_addresses() -> None:
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert peer_of("2001:db8:0:1::1") != peer_of("2001:db8::1")
    assert peer_of("::ffff:192.0.2.1") == peer_of("192.0.2.1") == "192.0.2.1"
    assert peer_of("fe80::1%eth0") == "fe80::/64"
    assert peer_of("unknown") == "unknown"


PEERS = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


@given(
    known=st.sets(st.sampled_from(PEERS)),
    steps=st.lists(st.tuples(st.sampled_from(PEERS), st.integers(1, 60)), max_size=30),
)
def test_a_room_never_holds_more_than_it_has_and_known_peers_lose_nothing(
    known: set[str], steps: list[tuple[str, int]]
) -> None:
    peers, held, dropped = Peers(), dict[Place, int](), list[Place]()
    for peer in known:
        peers.prove(peer)
    room = Room(100, peers)
    for peer, amount in steps:
        for place in _entering(room, peer, amount, dropped):
            held[place] = amount
        for place in dropped:
            held.pop(place, None)
        assert sum(held.values()) <= 100
        assert all(place.peer not in known for place in dropped)
        if peer in known and sum(held[one] for one in held if one.peer in known) + amount <= 100:
            assert any(place.peer == peer for place in held)
    for place in held:
        room.leave(place)
    assert room.take(Place("192.0.2.9", lambda: None), 100)


def _entering(room: Room, peer: str, amount: int, dropped: list[Place]) -> Iterator[Place]:
    place = Place(peer, lambda: dropped.append(place))
    if room.take(place, amount):
        yield place
    else:
        room.leave(place)
