"""Against real listeners on loopback."""

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from claimbus.events.errors import ConfigurationError
from claimbus.events.tls import client_context, server_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem, client.pem (each with its key) and a stranger's ca and client."""
    folder = tmp_path_factory.mktemp("tls")
    for prefix in ("", "other-"):
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / f"{prefix}ca.pem")
        server, client = ca.issue_cert("localhost"), ca.issue_cert("participant@iso.example")
        server.private_key_and_cert_chain_pem.write_to_path(folder / f"{prefix}server.pem")
        client.private_key_and_cert_chain_pem.write_to_path(folder / f"{prefix}client.pem")
        client.private_key_pem.write_to_path(folder / f"{prefix}client.key")
    return folder


def only_tls_1_1(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")  # without this OpenSSL cannot even offer TLS 1.1
    return context


@contextmanager
def listening(context: ssl.SSLContext) -> Iterator[int]:
    """A listener that answers ``served`` to whom it accepts; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve, listener, context)
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.result()


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # shut down
            return
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as accepted:
            accepted.sendall(b"served")
            accepted.recv(1)


def answer(context: ssl.SSLContext, port: int, name: str = "localhost") -> tuple[bytes, str | None]:
    """What a listener answers, and in which version of TLS."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        return secured.recv(16), secured.version()


def lax_client(files: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files / "ca.pem")
    return context


def lax_server(files: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "server.pem")
    return context


def test_both_sides_meet_in_the_newest_version(files: Path) -> None:
    with listening(server_context(files / "server.pem")) as port:
        assert answer(client_context(ca_file=files / "ca.pem"), port) == (b"served", "TLSv1.3")


def test_a_peer_that_speaks_tls_1_2_only_is_served(files: Path) -> None:
    with listening(server_context(files / "server.pem")) as port:
        context = lax_client(files)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert answer(context, port) == (b"served", "TLSv1.2")


def test_a_client_that_speaks_tls_1_1_only_is_refused(files: Path) -> None:
    old = only_tls_1_1(lax_client(files))
    with listening(only_tls_1_1(lax_server(files))) as port:
        assert answer(old, port) == (b"served", "TLSv1.1")  # so the client could
    refused = pytest.raises(ssl.SSLError, match="protocol version")
    with listening(server_context(files / "server.pem")) as port, refused:
        answer(old, port)


def test_a_server_that_speaks_tls_1_1_only_is_refused(files: Path) -> None:
    with listening(only_tls_1_1(lax_server(files))) as port:
        assert answer(only_tls_1_1(lax_client(files)), port) == (b"served", "TLSv1.1")
        with pytest.raises(ssl.SSLError, match="protocol"):
            answer(client_context(ca_file=files / "ca.pem"), port)


def test_a_server_of_another_authority_is_refused(files: Path) -> None:
    with listening(server_context(files / "other-server.pem")) as port:
        for context in (client_context(ca_file=files / "ca.pem"), client_context()):
            with pytest.raises(ssl.SSLCertVerificationError):
                answer(context, port)


def test_a_server_of_another_name_is_refused(files: Path) -> None:
    refused = pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch")
    with listening(server_context(files / "server.pem")) as port, refused:
        answer(client_context(ca_file=files / "ca.pem"), port, "elsewhere.example")


def test_a_client_must_show_a_certificate_of_the_right_authority(files: Path) -> None:
    demanding = server_context(files / "server.pem", client_ca_file=files / "ca.pem")
    with listening(demanding) as port:
        shown = client_context(ca_file=files / "ca.pem", certificate_file=files / "client.pem")
        assert (answer(shown, port))[0] == b"served"
        with pytest.raises(ssl.SSLError, match="certificate required"):
            answer(client_context(ca_file=files / "ca.pem"), port)
        stranger = client_context(ca_file=files / "ca.pem", certificate_file=files / "other-client.pem")
        with pytest.raises(ssl.SSLError, match="unknown ca"):
            answer(stranger, port)


def test_a_key_with_a_password_is_opened_with_it(files: Path) -> None:
    key = load_pem_private_key((files / "client.key").read_bytes(), None)
    locked = files / "locked.key"
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    )
    ca, certificate = files / "ca.pem", files / "client.pem"
    shown = client_context(
        ca_file=ca, certificate_file=certificate, key_file=locked, key_password="open sesame"
    )
    with listening(server_context(files / "server.pem", client_ca_file=ca)) as port:
        assert (answer(shown, port))[0] == b"served"
    for password in (None, "wrong"):
        with pytest.raises(ConfigurationError) as refused:
            client_context(ca_file=ca, certificate_file=certificate, key_file=locked, key_password=password)
        assert refused.value.field == "certificate_file"
        assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda files: client_context(ca_file=files / "none.pem"), "ca_file"),
        (lambda files: client_context(ca_file=files / "client.key"), "ca_file"),
        (lambda files: client_context(certificate_file=files / "none.pem"), "certificate_file"),
        (lambda files: client_context(certificate_file=files / "ca.pem"), "certificate_file"),
        (lambda files: client_context(key_file=files / "client.key"), "key_file"),
        (lambda files: server_context(files / "ca.pem"), "certificate_file"),
        (lambda files: server_context(files / "server.pem", files / "client.key"), "certificate_file"),
        (
            lambda files: server_context(files / "server.pem", client_ca_file=files / "none.pem"),
            "client_ca_file",
        ),
    ],
)
def test_a_wrong_file_is_named(build: Callable[[Path], ssl.SSLContext], field: str, files: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(files)
    assert refused.value.field == field
