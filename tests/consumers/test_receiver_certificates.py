"""The certificate that a receiver shows is seen whatever it is worth, once a day, and nobody waits for it."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.settings import Settings
from claimbus.cli.wiring.webhook import webhooks
from claimbus.database import endpoints, receiver_certificates
from claimbus.database.endpoint import Endpoint
from claimbus.database.receiver_certificates import Seen
from claimbus.events.tls import server_context
from claimstore.leases import Leases
from consumers import certificate_watch
from consumers.addresses import AddressGuard
from consumers.certificate_watch import CertificateWatch
from consumers.signature import new_secret
from consumers.verification import verify
from consumers.webhook import Webhook
from tests.consumers.house import ACT, House, open_house
from tests.consumers.webhooks import ANY_PORT, LOOPBACK, serving, webhook
from tests.waiting import eventually, never

ENDED = datetime(2021, 1, 1, tzinfo=UTC)
LATER = datetime(2037, 1, 1, tzinfo=UTC)

Issue = Callable[[trustme.CA], trustme.LeafCert]


def good(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1", not_after=LATER)


def ended(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1", not_after=ENDED)


def misnamed(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.2", not_after=LATER)


def forged(_: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1", not_after=LATER)


def showing(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


class Door:
    """What connects to a server, and all that it sends there."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard = b""
        with suppress(OSError):
            while some := await reader.read(65536):
                heard += some
        self.heard.append(heard)


@pytest.mark.parametrize("issue", [good, ended, misnamed, forged])
async def test_a_certificate_is_seen_whatever_it_is_worth_and_nothing_is_sent(issue: Issue) -> None:
    ca, door = trustme.CA(), Door()
    async with (
        serving(door.serve, showing(issue(ca))) as url,
        webhook(url, ca_pem=ca.cert_pem.bytes()) as hook,
    ):
        seen = await hook.certificate()
        await eventually(lambda: door.heard)
    assert seen is not None
    assert seen.ends_at == (ENDED if issue is ended else LATER)
    assert seen.begins_at < seen.ends_at
    assert "trustme" in seen.issuer
    assert len(seen.fingerprint) == 64
    assert door.heard == [b""]


async def test_it_is_looked_for_by_its_name_at_the_address_that_the_guard_let_through() -> None:
    asked: list[str | None] = []
    tls = showing(good(trustme.CA()))
    tls.sni_callback = lambda _, name, __: asked.append(name)

    async def resolve(_: str) -> list[str]:
        return ["10.1.2.3", "127.0.0.1"]

    guard = AddressGuard(allow=LOOPBACK._allow, ports=ANY_PORT, resolve=resolve)
    async with serving(Door().serve, tls) as url:
        port = url.split(":")[2].partition("/")[0]
        async with webhook(f"https://receiver.test:{port}/", guard=guard) as hook:
            assert await hook.certificate() is not None
    assert asked == ["receiver.test"]


async def test_what_no_webhook_may_reach_is_not_looked_at_either() -> None:
    door = Door()
    async with serving(door.serve, showing(good(trustme.CA()))) as url:
        for guard in (AddressGuard(ports=ANY_PORT), AddressGuard(allow=LOOPBACK._allow)):
            async with webhook(url, guard=guard) as hook:
                assert await hook.certificate() is None
    assert door.heard == []


async def test_plain_http_has_no_certificate() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hook = Webhook(url, secrets=[new_secret()], guard=LOOPBACK, allow_http=True)
        assert await hook.certificate() is None
        with pytest.raises(BlockingIOError):
            silent.accept()
        await hook.aclose()


async def test_a_handshake_that_never_comes_ends_with_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with webhook(f"https://127.0.0.1:{silent.getsockname()[1]}/", connect_timeout=0.2) as hook:
            assert await hook.certificate() is None


async def test_what_speaks_no_tls_shows_none() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, webhook(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as hook:
        assert await hook.certificate() is None


async def test_a_receiver_that_wants_our_certificate_shows_its_own(
    settings: Settings, house: House, tmp_path: Path
) -> None:
    """In TLS 1.2 the handshake fails of a certificate that is missing, and nothing is seen."""
    authority = Authority(tmp_path / "theirs")
    tls = server_context(authority.server("server", "127.0.0.1"), client_ca_file=authority.ca)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    ours = settings.model_copy(update={"webhook_certificate_file": authority.client("iso")})
    house.participant("AAA1")
    async with serving(Door().serve, tls) as url:
        endpoint, _ = await house.endpoint("AAA1", url=url, provisioned=False)
        subjects = []
        for shown in (settings, ours):
            hook = webhooks(shown)(endpoint)
            seen = await hook.certificate()
            await hook.aclose()
            subjects.append(seen and seen.subject)
    assert subjects == [None, "CN=server"]


async def test_a_verification_sees_the_certificate_of_one_that_agrees(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", verified=False)
    hook = webhooks(house.wiring.settings)(endpoint)
    found = await verify(hook, endpoint, source="urn:tests")
    await hook.aclose()
    assert found.passed
    assert found.certificate is not None
    assert found.certificate.subject == "CN=receivers"
    assert len(receiver.asked) == 1


async def test_a_verification_that_fails_of_an_ended_certificate_says_so(house: House) -> None:
    house.participant("AAA1")
    ca = trustme.CA()
    async with serving(Door().serve, showing(ended(ca))) as url:
        endpoint, _ = await house.endpoint(
            "AAA1", verified=False, url=url, ca_pem=ca.cert_pem.bytes().decode(), provisioned=False
        )
        hook = webhooks(house.wiring.settings)(endpoint)
        found = await verify(hook, endpoint, source="urn:tests")
        await hook.aclose()
    assert (found.passed, found.answer.failure) == (False, "tls")
    assert found.meaning == "its certificate ended on 2021-01-01 00:00 UTC: renew it"
    assert found.certificate is not None


def watching(house: House, worker: str = "one") -> CertificateWatch:
    leases = Leases(house.store.connection)
    return CertificateWatch(house.database, leases, webhooks(house.wiring.settings), worker=worker)


def seen_at(house: House, *those: Endpoint) -> list[Seen]:
    with house.database.snapshot() as sql:
        return list(receiver_certificates.find(sql, endpoint_ids=[one.id for one in those]))


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every receiver be due at each look."""
    monkeypatch.setattr(certificate_watch, "AGAIN_AFTER", timedelta(seconds=-1))


async def test_each_receiver_is_looked_at_once_a_day(house: House) -> None:
    house.participant("AAA1")
    there = [await house.endpoint("AAA1", provisioned=False) for _ in range(6)]
    assert [await watching(house).look() for _ in range(3)] == [6, 0, 0]
    assert [receiver.accepted for _, receiver in there] == [1] * 6
    assert len(seen_at(house, *(endpoint for endpoint, _ in there))) == 6
    assert all(receiver.received == receiver.asked == [] for _, receiver in there)


async def test_a_round_looks_at_so_many_and_those_that_waited_longest_come_first(
    house: House, monkeypatch: pytest.MonkeyPatch, again: None
) -> None:
    monkeypatch.setattr(certificate_watch, "AT_ONCE", 2)
    house.participant("AAA1")
    there = [await house.endpoint("AAA1", provisioned=False) for _ in range(3)]
    for looks in ((0, 1, 1), (1, 1, 2)):
        assert await watching(house).look() == 2
        assert tuple(sorted(receiver.accepted for _, receiver in there)) == looks


@pytest.mark.usefixtures("again")
async def test_a_renewed_certificate_is_seen_on_the_next_look(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", provisioned=False)
    await watching(house).look()
    (before,) = seen_at(house, endpoint)
    house.receivers._tls.load_cert_chain(house.receivers.authority.server("renewed", "127.0.0.1"))
    await watching(house).look()
    (after,) = seen_at(house, endpoint)
    assert (before.subject, after.subject) == ("CN=receivers", "CN=renewed")
    assert after.seen_at > before.seen_at


@pytest.mark.usefixtures("again")
async def test_what_was_seen_stays_while_a_receiver_is_away(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", provisioned=False)
    await watching(house).look()
    before = seen_at(house, endpoint)
    await receiver.behave(Behaviour(kind="down"))
    assert await watching(house).look() == 1
    assert seen_at(house, endpoint) == before


async def test_only_who_agreed_to_receive_is_looked_at(house: House) -> None:
    house.participant("AAA1")
    pending, silent = await house.endpoint("AAA1", verified=False, provisioned=False)
    paused, _ = await house.endpoint("AAA1", provisioned=False)
    disabled, _ = await house.endpoint("AAA1", provisioned=False)
    removed, _ = await house.endpoint("AAA1", provisioned=False)
    with house.database.transaction() as sql:
        endpoints.pause(sql, paused.id, ACT)
        endpoints.disable(sql, disabled.id, type(ACT)("tests", "gone"))
        endpoints.remove(sql, removed.id, ACT)
        endpoints.add(sql, "AAA1", ACT, kind="stream", name="stream")
        endpoints.add(
            sql, "AAA1", ACT, name="plain", url="http://127.0.0.1:1/", allow_http=True, verified=True
        )
    assert await watching(house).look() == 1
    assert [one.endpoint_id for one in seen_at(house, pending, paused, disabled, removed)] == [paused.id]
    assert silent.accepted == 0


async def test_what_another_url_showed_is_shown_no_more_and_the_new_one_is_due_at_once(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", provisioned=False)
    await watching(house).look()
    await house.change(endpoint, url=f"{receiver.url}/other")
    assert seen_at(house, endpoint) == []
    assert await watching(house).look() == 0, "it has not agreed yet"
    with house.database.transaction() as sql:
        endpoints.mark_verified(sql, endpoint.id, ACT, url=f"{receiver.url}/other")
    assert await watching(house).look() == 1
    assert len(seen_at(house, endpoint)) == 1


async def test_nothing_of_a_removed_endpoint_is_shown(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1", provisioned=False)
    await watching(house).look()
    await house.remove(endpoint)
    assert seen_at(house, endpoint) == []


async def test_a_receiver_that_hangs_in_the_handshake_delays_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    patient = settings.model_copy(update={"webhook_connect_timeout": timedelta(minutes=5)})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with open_house(patient, tmp_path) as house:
            house.participant("AAA1")
            await house.endpoint("AAA1", "oms.#", url=url, provisioned=False)
            _, receiver = await house.endpoint("AAA1")
            await house.worker()
            looking = asyncio.create_task(watching(house).look())
            await eventually(lambda: receiver.accepted)
            await house.publish()
            await eventually(lambda: receiver.received)
            assert not looking.done()
            looking.cancel()
            await asyncio.wait([looking])


async def test_a_receiver_that_hangs_keeps_no_other_from_being_seen(
    settings: Settings, tmp_path: Path
) -> None:
    hasty = settings.model_copy(update={"webhook_connect_timeout": timedelta(milliseconds=300)})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with open_house(hasty, tmp_path) as house:
            house.participant("AAA1")
            hanging, _ = await house.endpoint("AAA1", url=url, provisioned=False)
            there = [(await house.endpoint("AAA1", provisioned=False))[0] for _ in range(5)]
            assert await watching(house).look() == 6
            assert len(seen_at(house, hanging, *there)) == 5
            assert await watching(house).look() == 0, "not even that which hangs"


async def test_a_fault_over_one_endpoint_is_no_reason_to_look_at_no_others(house: House) -> None:
    house.participant("AAA1")
    broken, _ = await house.endpoint("AAA1", provisioned=False)
    other, _ = await house.endpoint("AAA1", provisioned=False)
    make = webhooks(house.wiring.settings)

    def webhook_of(endpoint: Endpoint) -> Webhook:
        if endpoint.id == broken.id:
            raise RuntimeError("a fault of ours")
        return make(endpoint)

    watch = CertificateWatch(house.database, Leases(house.store.connection), webhook_of, worker="one")
    assert await watch.look() == 2
    assert [one.endpoint_id for one in seen_at(house, broken, other)] == [other.id]


async def test_a_worker_looks_and_of_several_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_watch, "START_AFTER", 0.0)
    monkeypatch.setattr(certificate_watch, "LOOK_EVERY", 0.05)
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    leases = Leases(house.store.connection)
    await leases.take("certificates", "another", seconds=60)
    await house.worker()
    await never(lambda: seen_at(house, endpoint), for_=0.3)
    await leases.give_back("certificates", "another")
    await eventually(lambda: seen_at(house, endpoint))
