"""Which chains are trusted: a table of those that are, and of the ways in which others pretend to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from claimbus.database import authorities, shown_certificates
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.errors import DatabaseUnavailableError
from claimbus.events.errors import InvalidInputError
from claimbus.portal.trust import Trust, UntrustedError
from tests.waiting import eventually

DAY = timedelta(days=1)
CRITICAL = True


@dataclass
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def issue(
    name: str,
    by: Issued | None = None,
    *extensions: x509.ExtensionType,
    ca: bool = False,
    path: int | None = None,
    begins: timedelta = -DAY,
    ends: timedelta = DAY,
    critical: bool = False,
) -> Issued:
    """A certificate, by itself unless by another."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = (
        x509.CertificateBuilder(by.certificate.subject if by else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca, path), CRITICAL)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


def authority(
    name: str, by: Issued | None = None, *extensions: x509.ExtensionType, path: int | None = None
) -> Issued:
    return issue(name, by, *extensions, ca=True, path=path)


ROOT = authority("root")
OTHER = authority("root")  # of the same name
BETWEEN = authority("between", ROOT, path=0)
BELOW = authority("below", BETWEEN)
OLD = issue("old", ca=True, ends=timedelta(seconds=-1))
LEAF = issue("leaf", ROOT)
ONLY_DNS = authority("dns", ROOT, x509.NameConstraints([x509.DNSName("one.example")], None))
SIGNS_NOTHING = authority("signs nothing", ROOT, x509.KeyUsage(True, *[False] * 8))
FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
FOR_CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
ELSEWHERE = x509.SubjectAlternativeName([x509.DNSName("two.example")])
ISSUED_LONG = x509.SubjectAlternativeName([x509.DNSName(f"{number}.example") for number in range(20)])
"""With it a certificate is longer than 255 bytes, and shorter than 64 KiB."""
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with Database.open(sqlite_url) as database:
        yield database


async def trusting(database: Database, *trusted: Issued) -> Trust:
    act = Act("tests", at=datetime.now(UTC) - timedelta(hours=1))
    with database.transaction() as sql:
        for one in trusted:
            authorities.put(sql, one.pem, act)
    trust = Trust(database)
    await trust.refresh()
    return trust


@pytest.mark.parametrize(
    ("trusted", "chain"),
    [
        (ROOT, [issue("client", ROOT)]),
        (ROOT, [issue("client", ROOT, FOR_CLIENTS)]),
        (ROOT, [issue("client", ROOT, FOR_CLIENTS, critical=True)]),
        (ROOT, [issue("client", BETWEEN), BETWEEN]),
        (ROOT, [issue("client", BETWEEN), BETWEEN, ROOT]),
        (ROOT, [issue("client", BETWEEN), OTHER, BETWEEN]),
        (BETWEEN, [issue("client", BETWEEN)]),
    ],
)
async def test_a_chain_to_an_authority_is_trusted(
    database: Database, trusted: Issued, chain: list[Issued]
) -> None:
    trust = await trusting(database, trusted)
    for _ in range(2):  # looked up, then remembered
        assert trust.verified([one.der for one in chain]).subject == "CN=client"


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([issue("client", OTHER)], id="another authority of the same name"),
        pytest.param([issue("client", OTHER), OTHER], id="that one among its chain"),
        pytest.param([issue("client")], id="by itself"),
        pytest.param([ROOT], id="the authority"),
        pytest.param([BETWEEN], id="an authority between"),
        pytest.param([issue("client", LEAF), LEAF], id="issued by a client"),
        pytest.param([issue("client", BELOW), BELOW, BETWEEN], id="a path longer than allowed"),
        pytest.param([issue("client", BETWEEN)], id="nothing leads to the authority"),
        pytest.param([issue("client", SIGNS_NOTHING), SIGNS_NOTHING], id="by a key not for that"),
        pytest.param([issue("client", ROOT, FOR_SERVERS)], id="for servers"),
        pytest.param([issue("client", ROOT, ends=timedelta(seconds=-1))], id="expired"),
        pytest.param([issue("client", ROOT, begins=timedelta(hours=1))], id="not valid yet"),
        pytest.param([issue("client", OLD)], id="by an authority that expired"),
        pytest.param(
            [issue("client", ONLY_DNS, ELSEWHERE), ONLY_DNS], id="a name not allowed to its authority"
        ),
        pytest.param([issue("client", ROOT, STRANGE, critical=True)], id="an unknown critical extension"),
        pytest.param([issue("", ROOT)], id="no subject"),
    ],
)
async def test_any_other_chain_is_not(database: Database, chain: list[Issued]) -> None:
    trust = await trusting(database, ROOT, OLD)
    with pytest.raises(UntrustedError):
        trust.verified([one.der for one in chain])


@pytest.mark.parametrize("chain", [[], [b""], [b"\x30\x00"], [LEAF.der[:-1]], [LEAF.der, b"x"]])
async def test_what_is_no_chain_is_not(database: Database, chain: Sequence[bytes]) -> None:
    trust = await trusting(database, ROOT)
    with pytest.raises(UntrustedError):
        trust.verified(chain)


def altered(issued: Issued, *, unused: int = 0) -> bytes:
    """The certificate with another signature, which is as valid: (r, n - s). It needs nobody's key."""
    r, s = decode_dss_signature(issued.certificate.signature)
    signature = (
        encode_dss_signature(r, ec.SECP256R1().group_order - s)
        if not unused
        else issued.certificate.signature
    )
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    bits = bytes([3, len(signature) + 1, unused]) + signature
    content = issued.certificate.tbs_certificate_bytes + algorithm + bits
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize("at", [0, 1])
async def test_a_certificate_whose_signature_was_altered_is_known_as_the_same(
    database: Database, at: int
) -> None:
    """It has another fingerprint, by which it would not count as revoked."""
    trust = await trusting(database, ROOT)
    chain = [issue("client", BETWEEN, ISSUED_LONG), BETWEEN]
    genuine = [one.der for one in chain]
    changed = [altered(one) if number == at else one.der for number, one in enumerate(chain)]
    assert changed != genuine
    shown = trust.verified(changed)
    assert {sha256(one).hexdigest() for one in genuine} <= shown.fingerprints
    assert trust.verified(genuine).fingerprints == shown.fingerprints


async def test_a_signature_of_a_part_of_a_byte_is_none(database: Database) -> None:
    """Which would make for a different fingerprint, too."""
    trust = await trusting(database, ROOT)
    client = issue("client", ROOT, ISSUED_LONG)
    while client.certificate.signature[-1] & 1:
        client = issue("client", ROOT, ISSUED_LONG)
    with pytest.raises(UntrustedError):
        trust.verified([altered(client, unused=1)])


async def test_a_certificate_that_was_verified_ends_all_the_same(database: Database) -> None:
    trust = await trusting(database, ROOT)
    short = issue("client", ROOT, ends=timedelta(seconds=2))  # to the second: one or two are left
    assert trust.verified([short.der]).subject == "CN=client"

    def is_over() -> bool:
        try:
            trust.verified([short.der])
        except UntrustedError:
            return True
        return False

    await eventually(is_over)


@pytest.mark.parametrize("pem", [b"", b"text", LEAF.pem, ROOT.pem + BETWEEN.pem])
def test_only_one_authoritys_certificate_is_one(database: Database, pem: bytes) -> None:
    with database.transaction() as sql, pytest.raises(InvalidInputError, match="pem"):
        authorities.put(sql, pem, Act("tests"))


async def test_what_was_shown_while_the_database_was_away_is_noted_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust, client = await trusting(database, ROOT), issue("client", ROOT)
    trust.verified([client.der])
    noted: list[str] = []

    def away(*_: object) -> None:
        raise DatabaseUnavailableError("database: away")

    def there(_: object, rows: Sequence[shown_certificates.Shown], __: datetime) -> None:
        noted.extend(one.fingerprint for one in rows)

    monkeypatch.setattr(shown_certificates, "note", away)
    with pytest.raises(DatabaseUnavailableError):
        await trust.note()
    monkeypatch.setattr(shown_certificates, "note", there)
    for _ in range(2):
        await trust.note()
    assert noted == [sha256(client.der).hexdigest()]
