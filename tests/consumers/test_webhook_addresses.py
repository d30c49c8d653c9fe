"""A webhook reaches only addresses that it may, and the ones that were checked."""

import asyncio
import itertools
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
from claimbus.events.errors import InvalidInputError
from consumers.addresses import Address, AddressGuard, RefusedAddressError, UnresolvedHostError, refusal
from consumers.verification import check_target
from tests.consumers.webhooks import ANY_PORT, LOOPBACK, Settings, post, webhook, webhook_to
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
        return AddressGuard(allow=[ip_network("127.0.0.0/8")], ports=ANY_PORT, resolve=self)


FORBIDDEN = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.0", "10.1.2.3", "10.255.255.255", "100.64.0.1", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.8"),
    *("192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    # where clouds tell secrets to whoever asks from inside: EC2, ECS, Azure, Alibaba, Oracle
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("fd00:ec2::254", "fd20:ce::254"),
    *("::", "::1", "100::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1"),
    *("2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "4000::1"),
    # IPv4 in IPv6: compatible, mapped, translated, NAT64, 6to4, Teredo
    *("::7f00:1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1%eth0", "2606:4700::1%lo"),
)
"""Addresses that no webhook may reach."""

SPELLINGS = (
    *("0", "127.1", "127.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
    *("017700000001", "①②⑦.⓪.⓪.①", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127。0。0。1"),
    *("127%2e0%2e0%2e1", "%31%32%37.0.0.1", "localhost", "LOCALHOST"),
    *("2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376", "0xA9.0xFE.0xA9.0xFE"),
    *("[0:0:0:0:0:0:0:1]", "[0000:0000::0001]", "[::127.0.0.1]", "[::FFFF:7F00:1]", "[::ffff:127.0.0.1]"),
    *("[fe80::1%25eth0]", "[::1%25lo]", "[v1.fe80]", "127.0.0.1:443:443"),
    *("8.8.8.8@127.0.0.1", "8.8.8.8:443@127.0.0.1", "127.0.0.1:443#@8.8.8.8", "127.0.0.1\\@8.8.8.8"),
    *("127.0.0.1?@8.8.8.8", "/127.0.0.1", "\\127.0.0.1", "\t127.0.0.1", "127.0.\n0.1"),
)
"""Hosts of URLs that lead to loopback, link-local or nowhere, however a parser may read them."""


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(ip_address(address)) is not None


async def fate(url: str, guard: AddressGuard) -> set[str]:
    """What becomes of a URL when an endpoint is made of it, and of a request there."""
    try:
        await check_target(url, guard)
        created = "taken"
    except InvalidInputError as refused:
        created = refused.field
    try:
        async with webhook(url, guard=guard) as hook:
            return {created, (await post(hook)).failure or "sent"}
    except InvalidInputError as refused:
        return {created, refused.field}


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_a_url_to_it_is_refused_at_creation_and_at_each_request(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    assert await fate(f"https://{literal}/", AddressGuard()) <= {"url", "refused-address"}


@pytest.mark.parametrize("address", [one for one in FORBIDDEN if "%" not in one])
async def test_so_is_a_name_that_resolves_to_it(address: str) -> None:
    names = Names(address)
    found = await fate("https://hook.test/", AddressGuard(resolve=names))
    assert (found, len(names.asked)) == ({"url", "refused-address"}, 2)


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_host_gets_round_it(host: str) -> None:
    assert await fate(f"https://{host}/", AddressGuard()) <= {"url", "refused-address"}


@pytest.mark.parametrize(
    "url",
    [
        *("http://8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "gopher://8.8.8.8/", "//8.8.8.8/", ""),
        *("https://user@8.8.8.8/", "https://user:word@8.8.8.8/", "https://:word@8.8.8.8/", "https://"),
        *(
            f"https://8.8.8.8:{port}/"
            for port in (0, 22, 25, 80, 5671, 5672, 6379, 8080, 15672, 65535, 65536)
        ),
        "https://[2606:4700::1]:22/",
    ],
)
async def test_only_https_without_credentials_on_chosen_ports_is_taken(url: str) -> None:
    assert await fate(url, AddressGuard()) <= {"url", "refused-address"}


async def test_chosen_ports_are_permitted_and_no_more() -> None:
    guard = AddressGuard(ports=((443, 443), (9000, 9001)))
    assert [port for port in range(65536) if guard.permits(port)] == [443, 9000, 9001]
    assert await guard.addresses("8.8.8.8", 9001) == ("8.8.8.8",)
    assert await AddressGuard().addresses("8.8.8.8", 8443) == ("8.8.8.8",)


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
    async with webhook_to(receiver, host=host, guard=AddressGuard(ports=ANY_PORT)) as hook:
        answer = await post(hook)
    assert answer.failure == "refused-address"
    assert receiver.connections == 0


async def test_of_several_addresses_the_permitted_ones_are_used() -> None:
    guard = AddressGuard(resolve=Names("10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"))
    assert await guard.addresses("hook.test", 443) == ("8.8.8.8", "2606:4700::1")
    with pytest.raises(RefusedAddressError, match=r"10\.0\.0\.1 is private, ::1 is loopback"):
        await AddressGuard(resolve=Names("10.0.0.1", "::1")).addresses("hook.test", 443)
    with pytest.raises(UnresolvedHostError):
        await AddressGuard(resolve=Names()).addresses("hook.test", 443)


async def test_a_literal_is_not_looked_up() -> None:
    names = Names("8.8.8.8")
    guard = names.guard()
    assert [await guard.addresses(host, 443) for host in ("127.0.0.1", "[::ffff:127.0.0.1]")]
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


async def test_a_name_that_rebinds_gains_nothing(receivers: Receivers, elsewhere: Receivers) -> None:
    """Each look at the name gives the other address: what was checked is what is connected to."""
    outside = await receivers.add("PGAE")
    inside = await elsewhere.add("PGAE", port=outside.port, secrets=outside.secrets)
    answers = itertools.cycle((["127.0.0.1"], ["127.0.0.2"]))
    asked: list[str] = []

    async def rebind(host: str) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    guard = AddressGuard(allow=[ip_network("127.0.0.1/32")], ports=ANY_PORT, resolve=rebind)
    await check_target(f"https://hook.test:{outside.port}/", guard)
    settings: Settings = {"guard": guard, "address_life": 0.0, "idle_timeout": 0.0}
    async with webhook_to(outside, host="hook.test", **settings) as hook:
        found = [(answer.status, answer.failure) for answer in [await post(hook) for _ in range(6)]]
    assert found == [(None, "refused-address"), (204, None)] * 3
    assert len(asked) == 7, "one look each: nobody asks again between the check and the connection"
    assert (len(outside.received), inside.accepted) == (3, 0)


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
    guard = AddressGuard(ports=ANY_PORT, resolve=hang)
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
    hanging = [asyncio.create_task(LOOPBACK.addresses("slow.test", 443)) for _ in range(40)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            assert "127.0.0.1" in await LOOPBACK.addresses("localhost", 443)
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
