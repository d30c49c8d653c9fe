"""What the messages of a TLS handshake hold: certificates shown, authorities asked for.

Layouts: RFC 5246, sections 7.4.2 and 7.4.4, for TLS 1.0 to 1.2; RFC 8446, sections 4.4.2 and 4.3.2, for 1.3.
A message begins with its type (1 byte) and its length (3 bytes).
"""

import io
import ssl
from collections.abc import Iterator
from typing import Final

from cryptography import x509

CLIENT_HELLO: Final = 1
CERTIFICATE: Final = 11
CERTIFICATE_REQUEST: Final = 13

_CERTIFICATE_AUTHORITIES: Final = 47
"""The extension of TLS 1.3 that names the authorities (RFC 8446, section 4.2)."""

# A request for a certificate (PKCS #10) with an empty key and signature, Ed25519 by name.
_ALGORITHM: Final = bytes.fromhex("3005 0603 2b6570")
_REST: Final = bytes.fromhex("300a 3005 0603 2b6570 0301 00 a000")
_NO_SIGNATURE: Final = bytes.fromhex("0301 00")


def certificates(message: bytes, version: ssl.TLSVersion) -> list[x509.Certificate]:
    """Return the certificates of a Certificate message, the peer's own first. Raises ValueError."""
    stream = io.BytesIO(message[4:])
    is_1_3 = version == ssl.TLSVersion.TLSv1_3
    if is_1_3:
        _vector(stream, 1)
    shown = io.BytesIO(_vector(stream, 3))
    found = []
    while _more(shown):
        found.append(x509.load_der_x509_certificate(_vector(shown, 3)))
        if is_1_3:
            _vector(shown, 2)
    return found


def authorities(message: bytes, version: ssl.TLSVersion) -> list[str]:
    """Return the authorities that a CertificateRequest names (RFC 4514); none: it does not say.

    Raises ValueError.
    """
    stream = io.BytesIO(message[4:])
    _vector(stream, 1)
    if version == ssl.TLSVersion.TLSv1_3:
        extensions = dict(_extensions(_vector(stream, 2)))
        stream = io.BytesIO(extensions.get(_CERTIFICATE_AUTHORITIES, bytes(2)))
    elif version == ssl.TLSVersion.TLSv1_2:
        _vector(stream, 2)
    names = io.BytesIO(_vector(stream, 2))
    found = []
    while _more(names):
        found.append(_rfc4514(_vector(names, 2)))
    return found


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    stream = io.BytesIO(data)
    while _more(stream):
        yield int.from_bytes(_read(stream, 2)), _vector(stream, 2)


def _vector(stream: io.BytesIO, width: int) -> bytes:
    """Read what follows its own length, a number of ``width`` bytes."""
    return _read(stream, int.from_bytes(_read(stream, width)))


def _read(stream: io.BytesIO, count: int) -> bytes:
    value = stream.read(count)
    if len(value) < count:
        raise ValueError("a message of the handshake is cut short")
    return value


def _more(stream: io.BytesIO) -> bool:
    return stream.tell() < len(stream.getbuffer())


def _rfc4514(name: bytes) -> str:
    """Spell a name in DER, which the library reads only as part of something: so it becomes one."""
    request = _sequence(_sequence(b"\x02\x01\x00" + name + _REST) + _ALGORITHM + _NO_SIGNATURE)
    return x509.load_der_x509_csr(request).subject.rfc4514_string()


def _sequence(content: bytes) -> bytes:
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return b"\x30" + (digits if size < 0x80 else bytes([0x80 | len(digits)]) + digits) + content
