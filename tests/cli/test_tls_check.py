"""Against real listeners on loopback, old ones and ours."""

import socket
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.tls_messages import authorities, certificates
from claimbus.events.tls import server_context
from tests.cli.terminal import Terminal
from tests.events.test_tls import listening
from tests.services import required

OLD, NEW = ("TLS 1.0", "TLS 1.1"), ("TLS 1.2", "TLS 1.3")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    ca.issue_cert("participant@iso.example").private_key_and_cert_chain_pem.write_to_path(
        folder / "client.pem"
    )
    other.issue_cert("stranger@iso.example").private_key_and_cert_chain_pem.write_to_path(
        folder / "stranger.pem"
    )
    late = ca.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    late.private_key_and_cert_chain_pem.write_to_path(folder / "expired.pem")
    return folder


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal({}, tmp_path)


@pytest.fixture
def amqp_server() -> tuple[str, int]:
    """RabbitMQ without TLS, which says at once that this is no AMQP."""
    parts = urlsplit(required("CLAIMBUS_AMQP_URL"))
    return parts.hostname or "", parts.port or 5672


def old_server(files: Path, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """What a server of 2008 accepts, or with ``newest`` no more than that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(files / "server.pem")
    return context


def offered(versions: list[dict[str, object]]) -> set[object]:
    return {one["version"] for one in versions if one["offered"]}


def test_a_listener_that_accepts_old_versions_is_found_out(files: Path, terminal: Terminal) -> None:
    with listening(old_server(files)) as port:
        answer = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json", code=1)
    assert offered(answer.json["versions"]) == {*OLD, *NEW}
    assert all(one["with"] for one in answer.json["versions"])  # a cipher suite each: they really connected
    assert answer.json["trusted"]
    assert answer.json["problems"] == [f"it offers {old}: 1.2 or newer is required" for old in OLD]


def test_a_listener_that_speaks_nothing_else_is_found_out(files: Path, terminal: Terminal) -> None:
    with listening(old_server(files, newest=ssl.TLSVersion.TLSv1_1)) as port:
        answer = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json", code=1)
    assert offered(answer.json["versions"]) == set(OLD)
    assert not answer.json["trusted"]
    assert "it offers neither TLS 1.2 nor 1.3" in answer.json["problems"]


def test_our_own_listener_passes(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "server.pem")) as port:
        answer = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json")
    versions = answer.json["versions"]
    assert offered(versions) == set(NEW)
    assert {one["with"] for one in versions if not one["offered"]} == {"alert protocol version"}
    assert answer.json["names"] == ["localhost"]
    assert answer.json["days_left"] == min(one["days_left"] for one in answer.json["chain"])
    assert answer.json["client_certificate"] == "not asked for"
    assert answer.json["problems"] == []


def test_people_get_it_in_tables(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "server.pem")) as port:
        out = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem").out
    lines = [line.split() for line in out.splitlines()]
    assert ["TLS", "1.1", "no", "alert", "protocol", "version"] in lines
    assert any(line[:3] == ["TLS", "1.3", "yes"] for line in lines)
    assert ["trusted", "yes"] in lines


def test_a_chain_that_nobody_here_trusts_fails(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "server.pem")) as port:
        answer = terminal("tls-check", f"localhost:{port}", code=1)
    assert "is not to be trusted for localhost: unable to get local issuer certificate" in answer.err


def test_a_certificate_of_another_name_fails(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "server.pem")) as port:
        words = ("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--name", "bus.example")
        assert "Hostname mismatch" in terminal(*words, code=1).err


def test_an_expired_certificate_fails(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "expired.pem")) as port:
        answer = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json", code=1)
    assert answer.json["days_left"] < 0
    assert answer.json["problems"] == [
        "its certificate is not to be trusted for localhost: certificate has expired"
    ]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_it_tells_whether_a_listener_lets_our_certificate_in(
    newest: ssl.TLSVersion, files: Path, terminal: Terminal
) -> None:
    context = server_context(files / "server.pem", client_ca_file=files / "ca.pem")
    context.maximum_version = newest
    with listening(context) as port:
        words = ("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json")
        assert terminal(*words).json["client_certificate"] == "required"
        shown = terminal(*words, "--cert", files / "client.pem")
        assert shown.json["client_certificate"] == "accepted"
        refused = terminal(*words, "--cert", files / "stranger.pem", code=1)
    assert refused.json["client_certificate"] == "refused"
    assert refused.json["problems"] == ["it refuses our certificate: alert unknown ca"]


def test_a_listener_may_ask_for_a_certificate_without_insisting(files: Path, terminal: Terminal) -> None:
    context = server_context(files / "server.pem", client_ca_file=files / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    with listening(context) as port:
        answer = terminal("tls-check", f"localhost:{port}", "--ca", files / "ca.pem", "--json")
    assert answer.json["client_certificate"] == "optional"


def test_a_listener_without_tls_is_told_as_such(amqp_server: tuple[str, int], terminal: Terminal) -> None:
    host, port = amqp_server
    answer = terminal("tls-check", f"{host}:{port}", code=1)
    assert "it accepts no version of TLS; does TLS speak there at all?" in answer.err


def test_where_nobody_listens_is_told_as_such(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = terminal("tls-check", f"127.0.0.1:{port}", code=1)
    assert answer.err == f"claimbus: 127.0.0.1:{port}: Connection refused\n"


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":443", "localhost:http", "localhost:70000"])
def test_an_address_without_a_port_is_wrong_usage(address: str, terminal: Terminal) -> None:
    terminal("tls-check", address, code=2)


def test_a_name_that_no_host_can_have_is_wrong_usage(files: Path, terminal: Terminal) -> None:
    with listening(server_context(files / "server.pem")) as port:
        terminal("tls-check", f"localhost:{port}", "--name", ".example", code=2)


VERSIONS = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: len(text.encode()) <= 64
)
NAMES = st.builds(
    lambda common, organisation: x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
        ]
    ),
    TEXTS,
    TEXTS,
)


def vector(width: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return len(content).to_bytes(width) + content


def request(names: list[x509.Name], version: ssl.TLSVersion) -> bytes:
    """A CertificateRequest as the RFCs lay it out."""
    found = vector(2, *(vector(2, name.public_bytes()) for name in names))
    if version == ssl.TLSVersion.TLSv1_3:
        algorithms = b"\x00\x0d" + vector(2, vector(2, b"\x04\x03"))
        return b"\x0d" + vector(3, vector(1), vector(2, algorithms, b"\x00\x2f" + vector(2, found)))
    algorithms = vector(2, b"\x04\x03") if version == ssl.TLSVersion.TLSv1_2 else b""
    return b"\x0d" + vector(3, vector(1, b"\x01\x40"), algorithms, found)


@given(st.lists(NAMES, max_size=4), st.sampled_from(VERSIONS))
def test_the_authorities_that_a_listener_names_are_read(
    names: list[x509.Name], version: ssl.TLSVersion
) -> None:
    assert authorities(request(names, version), version) == [name.rfc4514_string() for name in names]


def test_a_request_of_openssls_is_read() -> None:
    """Recorded from ``openssl s_server -Verify 1 -CAfile …``."""
    recorded = bytes.fromhex(
        "0d000056000053000d00220020040305030603080708080809080a080b08040805080604010501060103030301"
        "002f00290027002530233112301006035504030c09477269642043412031310d300b060355040a0c0447726964"
    )
    assert authorities(recorded, ssl.TLSVersion.TLSv1_3) == ["O=Grid,CN=Grid CA 1"]


@given(st.integers(min_value=0, max_value=200), st.sampled_from(VERSIONS))
def test_a_message_that_was_cut_short_is_an_error(length: int, version: ssl.TLSVersion) -> None:
    whole = request([x509.Name.from_rfc4514_string("CN=Grid CA,O=" + "x" * 60)] * 3, version)
    with pytest.raises(ValueError, match=r"cut short|parsing"):
        authorities(whole[: 4 + length], version)
    with pytest.raises(ValueError, match=r"cut short|parsing"):
        certificates(b"\x0b\x00\x00\xff\x00\x00\xff" + bytes(length), version)
