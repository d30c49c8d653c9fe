"""A webhook reaches only addresses that it may, and the ones that were checked."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour, Receivers
from consumers.addresses import Address, AddressGuard, RefusedAddressError, UnresolvedHostError, refusal
from tests.consumers.webhooks import LOOPBACK, Settings, post, webhook_to
from tests.waiting import eventually

NAMES = ("hook.test", "xn--bcher-kva.test")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def receivers(tmp_path: Path, authority: Authority) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path, authority=authority, names=NAMES) as receivers:
        yield receivers


@pytest.fixture
async def elsewhere(tmp_path: Path, authority: Authority) -> AsyncIterator[Receivers]:
    """Receivers on another address of this machine."""
    (tmp_path / "elsewhere").mkdir()
    directory = tmp_path / "elsewhere"
    async with Receivers.open(directory, authority=authority, host="127.0.0.2", names=NAMES) as receivers:
        yield receivers


class Names:
    """A name server for one name, which can change its mind."""

    def __init__(self, *answers: str) -> None:
        self.answers: Sequence[str] = answers
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await asyncio.sleep(0)
        if not self.answers:
            raise OSError("no such name")
        return self.answers

    def guard(self) -> AddressGuard:
        return AddressGuard(allow=[ip_network("127.0.0.0/8")], resolve=self)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
        *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1"),
        *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
        *("239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1"),
        *("::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1"),
        *("2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(ip_address(address)) is not None


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2606:4700::1",
    ],
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert refusal(ip_address(address)) is None


@given(st.ip_addresses())
def test_what_python_knows_as_not_public_is_refused(address: Address) -> None:
    assume(
        address.version == 4 or address not in ip_network("::/8")
    )  # mapped and translated IPv4 lives there
    assume(address.is_multicast or not address.is_global)
    assert refusal(address) is not None


def test_an_allowed_network_is_permitted_and_no_more() -> None:
    allow = [ip_network("10.1.0.0/16")]
    assert refusal(ip_address("10.1.2.3"), allow) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), allow) is None
    assert refusal(ip_address("10.2.0.1"), allow) == "private"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "①②⑦.0.0.1", "127.0.0.1."),
        *("localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
async def test_no_spelling_of_loopback_gets_through(receivers: Receivers, host: str) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver, host=host, guard=AddressGuard()) as hook:
        answer = await post(hook)
    assert answer.failure == "refused-address"
    assert receiver.connections == 0


async def test_of_several_addresses_the_permitted_ones_are_used() -> None:
    guard = AddressGuard(resolve=Names("10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"))
    assert await guard.addresses("hook.test") == ("8.8.8.8", "2606:4700::1")
    with pytest.raises(RefusedAddressError, match=r"10\.0\.0\.1 is private, ::1 is loopback"):
        await AddressGuard(resolve=Names("10.0.0.1", "::1")).addresses("hook.test")
    with pytest.raises(UnresolvedHostError):
        await AddressGuard(resolve=Names()).addresses("hook.test")


async def test_a_literal_is_not_looked_up() -> None:
    names = Names("8.8.8.8")
    guard = names.guard()
    assert [await guard.addresses(host) for host in ("127.0.0.1", "[::ffff:127.0.0.1]")]
    assert names.asked == []


@pytest.mark.parametrize("host", ["hook.test", "HOOK.test", "hook.test.", "bücher.test"])
async def test_the_connection_goes_to_the_address_that_was_checked(receivers: Receivers, host: str) -> None:
    receiver = await receivers.add("PGAE")
    names = Names("127.0.0.1")
    async with webhook_to(receiver, host=host, guard=names.guard()) as hook:
        assert (await post(hook)).status == 204
        assert (await post(hook)).status == 204
    assert len(names.asked) == 1


async def test_a_name_that_turns_to_a_forbidden_address_is_refused(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    names = Names("127.0.0.1")
    settings: Settings = {"guard": names.guard(), "address_life": 0.0}
    async with webhook_to(receiver, host="hook.test", **settings) as hook:
        assert (await post(hook)).status == 204
        names.answers = ["169.254.169.254"]
        assert (await post(hook)).failure == "refused-address"
        names.answers = ["127.0.0.1"]
        assert (await post(hook)).status == 204


async def test_a_receiver_that_moves_is_followed(receivers: Receivers, elsewhere: Receivers) -> None:
    before = await receivers.add("PGAE")
    after = await elsewhere.add("PGAE", port=before.port, secrets=before.secrets)
    names = Names("127.0.0.1")
    settings: Settings = {"guard": names.guard(), "address_life": 0.0}
    async with webhook_to(before, host="hook.test", **settings) as hook:
        assert (await post(hook)).status == 204
        names.answers = ["127.0.0.2"]
        assert (await post(hook)).status == 204
        await eventually(lambda: before.connections == 0)
        assert after.connections == 1
    assert (len(before.received), len(after.received)) == (1, 1)


async def test_while_a_name_stays_its_connections_do(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    names = Names("127.0.0.1", "127.0.0.3")
    settings: Settings = {"guard": names.guard(), "address_life": 0.0}
    async with webhook_to(receiver, host="hook.test", **settings) as hook:
        await post(hook)
        names.answers = ["127.0.0.3", "127.0.0.1"]
        await post(hook)
    assert len(receiver.received) == 2
    assert receiver.accepted == 1


async def test_an_address_that_refuses_gives_way_to_the_next(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    names = Names("127.0.0.2", "127.0.0.1")
    async with webhook_to(receiver, host="hook.test", guard=names.guard()) as hook:
        assert (await post(hook)).failure == "connect"
        assert (await post(hook)).status == 204
        assert (await post(hook)).status == 204


async def test_without_name_servers_a_known_address_serves_on(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    names = Names("127.0.0.1")
    settings: Settings = {"guard": names.guard(), "address_life": 0.0}
    async with webhook_to(receiver, host="hook.test", **settings) as hook:
        assert (await post(hook)).status == 204
        names.answers = []
        assert (await post(hook)).status == 204


async def test_a_name_server_that_hangs_costs_the_connect_timeout(receivers: Receivers) -> None:
    async def hang(_host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    receiver = await receivers.add("PGAE")
    guard = AddressGuard(resolve=hang)
    async with webhook_to(receiver, host="hook.test", guard=guard, connect_timeout=0.1) as hook:
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("dns", False)


async def test_lookups_that_hang_do_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    release, look_up = threading.Event(), socket.getaddrinfo

    def hang(host: str, port: None, **hints: int) -> object:
        if host == "slow.test":
            release.wait()
            raise OSError
        return look_up(host, port, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    hanging = [asyncio.create_task(LOOPBACK.addresses("slow.test")) for _ in range(40)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            assert "127.0.0.1" in await LOOPBACK.addresses("localhost")
    finally:
        release.set()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(end) for end in ends} == {UnresolvedHostError}


async def test_the_client_is_made_once_for_posts_that_begin_together(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="slow", seconds=0.05))
    names = Names("127.0.0.1")
    async with webhook_to(receiver, host="hook.test", guard=names.guard()) as hook:
        answers = await asyncio.gather(*(post(hook) for _ in range(5)))
    assert [answer.status for answer in answers] == [204] * 5
    assert len(names.asked) == 1
