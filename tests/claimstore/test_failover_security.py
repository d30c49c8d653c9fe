"""TLS and passwords: to the sentinels and the master, and to every server of a cluster."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from claimbus.events.errors import ConfigurationError
from claimstore.connection import Connection
from claimstore.errors import StoreUnavailableError
from tests.claimstore.clusters import SERVICE, Sentinel, redis_cluster
from tests.claimstore.private import PrivateRedis, free_port

pytestmark = pytest.mark.usefixtures("own_servers")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secured(authority: trustme.CA, tmp_path: Path) -> list[str]:
    """The settings with which a server speaks TLS, but for its port."""
    identity = authority.issue_cert("127.0.0.1")
    identity.private_key_pem.write_to_path(tmp_path / "key.pem")
    identity.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return [
        *("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no"),
    ]


@pytest.fixture
def guarded(secured: list[str], tmp_path: Path) -> Iterator[str]:
    """What follows the credentials in the URL of a sentinel and its master, both with TLS and a password."""
    master_port, sentinel_port = free_port(), free_port()
    folders = tmp_path / "master", tmp_path / "sentinel"
    for folder in folders:
        folder.mkdir()
    master = PrivateRedis(folders[0], *secured, "--tls-port", str(master_port))
    sentinel = Sentinel(
        folders[1], master_port, *secured, "--tls-port", str(sentinel_port), "--tls-replication", "yes"
    )
    try:
        for server in (master, sentinel):
            server.start()
            server.wait()
        sentinel.command("SENTINEL", "SET", SERVICE, "auth-pass", "data-secret")
        sentinel.command("ACL", "SETUSER", "default", "resetpass", ">watch-secret")
        master.command("CONFIG", "SET", "requirepass", "data-secret")
        yield f"127.0.0.1:{sentinel_port}/{SERVICE}"
    finally:
        sentinel.kill()
        master.kill()


async def test_sentinel_and_master_are_spoken_to_with_tls_and_their_passwords(
    guarded: str, trusting: ssl.SSLContext
) -> None:
    url = f"rediss+sentinel://:data-secret@{guarded}?sentinel_password=watch-secret"
    async with await Connection.open(url, tls=trusting, replicas=0) as connection:
        await connection.ping()
    with pytest.raises(StoreUnavailableError):
        await Connection.open(url, tls=ssl.create_default_context(), connect_within=0)
    with pytest.raises(StoreUnavailableError) as refused:
        await Connection.open(url.replace("watch-", "wrong-"), tls=trusting, connect_within=0)
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="redis_url: Redis refuses") as refused_by_master:
        await Connection.open(url.replace("data-", "wrong-"), tls=trusting, connect_within=60)
    assert "secret" not in str(refused_by_master.value)


async def test_all_of_a_cluster_are_spoken_to_with_tls(
    secured: list[str], trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    with redis_cluster(tmp_path, *secured, "--tls-cluster", "yes", replicas=0) as cluster:
        ports = [node.command("CONFIG", "GET", "tls-port")[1] for node in cluster.nodes]
        url = f"rediss+cluster://127.0.0.1:{ports[0]}"
        async with await Connection.open(url, tls=trusting, replicas=0) as connection:
            await connection.ask_many(("SET", f"key:{number}", "value") for number in range(100))
            assert {master.name for master in connection.masters} == {f"127.0.0.1:{port}" for port in ports}
        with pytest.raises(StoreUnavailableError, match="certificate"):
            await Connection.open(url, tls=ssl.create_default_context(), connect_within=0)
