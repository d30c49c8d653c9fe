"""Mutual TLS: what cannot be shown ends what is sent, at the start or while we run. There is no fallback."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Receivers
from claimbus.cli.settings import Settings
from claimbus.cli.wiring.webhook import webhooks
from claimbus.events.errors import ConfigurationError
from tests.consumers.house import House
from tests.consumers.webhooks import post, webhook_to
from tests.waiting import eventually

CA = trustme.CA()


def pem(*, ends: datetime | None = None, begins: datetime | None = None, name: str = "iso.test") -> bytes:
    return CA.issue_cert(name, not_after=ends, not_before=begins).private_key_and_cert_chain_pem.bytes()


def locked() -> bytes:
    leaf = CA.issue_cert("iso.test")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    return sealed + leaf.cert_chain_pems[0].bytes()


ONE, TWO = CA.issue_cert("one.test"), CA.issue_cert("two.test")

UNUSABLE = {
    "junk": b"junk",
    "empty": b"",
    "without its key": ONE.cert_chain_pems[0].bytes(),
    "without the certificate": ONE.private_key_pem.bytes(),
    "another's key": TWO.private_key_pem.bytes() + ONE.cert_chain_pems[0].bytes(),
    "a key with a password": locked(),
    "expired": pem(ends=datetime(2021, 1, 1, tzinfo=UTC)),
    "not valid yet": pem(begins=datetime.now(UTC) + timedelta(days=1)),
}


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


@pytest.mark.parametrize("what", UNUSABLE)
async def test_what_cannot_be_shown_is_never_left_out(receivers: Receivers, what: str) -> None:
    receiver = await receivers.add("PGAE")  # which takes whoever comes
    async with webhook_to(receiver, identity_pem=UNUSABLE[what]) as hook:
        answer = await post(hook)
        asked, _ = await hook.ask({}, hear=())
    assert (answer.failure, answer.sent) == ("configuration", False)
    assert asked.failure == "configuration"
    assert receiver.accepted == 0


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_shown_stops_the_start(tmp_path: Path, what: str) -> None:
    (tmp_path / "iso.pem").write_bytes(UNUSABLE[what])
    with pytest.raises(ConfigurationError) as caught:
        webhooks(Settings(webhook_certificate_file=tmp_path / "iso.pem"))
    assert caught.value.field == "CLAIMBUS_WEBHOOK_CERTIFICATE_FILE"


def test_half_a_setting_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CLAIMBUS_WEBHOOK_CERTIFICATE_FILE: must be given"):
        webhooks(Settings(webhook_key_file=tmp_path / "key.pem"))
    for settings in (
        Settings(webhook_certificate_file=tmp_path / "none.pem"),
        Settings(webhook_certificate_file=tmp_path / "none.pem", webhook_key_file=tmp_path / "none.key"),
    ):
        with pytest.raises(ConfigurationError, match=r"none\.pem"):
            webhooks(settings)


async def test_a_certificate_that_expires_while_we_run_ends_what_is_sent(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = await receivers.add("PGAE")
    ends = datetime.now(UTC) + timedelta(days=1)
    async with webhook_to(receiver, identity_pem=pem(ends=ends)) as hook:
        assert (await post(hook)).status == 204
        late = SimpleNamespace(time=(ends + timedelta(seconds=1)).timestamp)
        monkeypatch.setattr("consumers.identity.time", late)
        answer = await post(hook)
    assert (answer.failure, answer.sent) == ("configuration", False)
    assert "expired" in answer.detail
    assert len(receiver.received) == 1


async def test_a_worker_shows_the_certificate_of_the_settings(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "demanding")
    house.participant("AAA1")
    async with Receivers.open(
        tmp_path / "demanding", authority=authority, client_certificates=True
    ) as receivers:
        receiver = await receivers.add("AAA1")
        endpoint, _ = await house.endpoint("AAA1", url=receiver.url, ca_pem=receiver.ca_pem.decode())
        receiver.secrets = tuple(one.value for one in endpoint.secrets)
        key, certificate = _parts(authority.client("iso").read_bytes())
        (tmp_path / "iso.key").write_bytes(key)
        (tmp_path / "iso.pem").write_bytes(certificate)
        await house.worker(
            webhook_certificate_file=tmp_path / "iso.pem", webhook_key_file=tmp_path / "iso.key"
        )
        await house.publish()
        await eventually(lambda: receiver.received)
        await house.stop_workers()
    assert receiver.received[0].verified


def _parts(both: bytes) -> tuple[bytes, bytes]:
    key, begin, certificate = both.partition(b"-----BEGIN CERTIFICATE-----")
    return key, begin + certificate


async def test_an_endpoint_s_own_authority_is_trusted_besides_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories = {name: tmp_path / name for name in ("system", "own", "strange")}
    authorities = {name: Authority(directory) for name, directory in directories.items()}
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities["system"].ca))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    found = {}
    for name, directory in directories.items():
        async with Receivers.open(directory, authority=authorities[name]) as receivers:
            receiver = await receivers.add("PGAE")
            async with webhook_to(receiver, ca_pem=authorities["own"].ca_pem) as hook:
                answer = await post(hook)
                found[name] = answer.status or answer.failure
    assert found == {"system": 204, "own": 204, "strange": "tls"}
