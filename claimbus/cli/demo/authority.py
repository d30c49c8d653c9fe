"""A throwaway certificate authority: for the demo and for tests, never for production."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE: Final = timedelta(days=3)
"""Of certificates, unless told otherwise."""


class Authority:
    """Issues certificates into a directory. Its own key stays in memory and ends with it.

    ``ca`` is the PEM file of its root certificate, for others to trust, and ``ca_pem`` its content.
    """

    def __init__(self, directory: Path, *, name: str = "claimbus demo CA", life: timedelta = LIFE) -> None:
        """Make a new authority, and ``directory`` if it is not there. Certificates last for ``life``."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._life = life
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = (
            _draft(self._name, self._name, self._key.public_key(), life)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca_pem = certificate.public_bytes(Encoding.PEM)
        self.ca.write_bytes(self.ca_pem)

    def server(self, name: str, *hosts: str) -> Path:
        """Issue a server certificate for host names and IP addresses; see `client` for the file."""
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def client(self, name: str) -> Path:
        """Issue a client certificate with this common name. Returns a PEM file of its key and itself."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def _issue(self, name: str, purpose: x509.ObjectIdentifier, hosts: tuple[str, ...]) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        draft = (
            _draft(_name(name), self._name, key.public_key(), self._life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(authority, critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            draft = draft.add_extension(names, critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        file = self._directory / f"{name}.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return file


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
