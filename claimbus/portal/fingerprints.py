"""By what single certificates are known: the SHA-256 of each of the forms in which it is as valid.

Whoever has a certificate that was signed by ECDSA can change its signature (r, s) into (r, n - s), which is
as valid, and so change its fingerprint without anybody's key. A revoked one must not count again by that.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding


def fingerprints(path: Sequence[x509.Certificate]) -> Iterator[str]:
    """Yield those of all forms of the certificates on a path to an authority, in hexadecimal.

    Raises ValueError for a signature that is encoded as no signature is.
    """
    for certificate, issuer in pairwise(path):
        der = certificate.public_bytes(Encoding.DER)
        yield sha256(der).hexdigest()
        key = issuer.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            r, s = decode_dss_signature(certificate.signature)
            other = encode_dss_signature(r, key.curve.group_order - s)
            yield sha256(_with_signature(certificate, der, other)).hexdigest()
        elif not der.endswith(b"\0" + certificate.signature):
            raise ValueError("its signature is no whole number of bytes")
    yield sha256(path[-1].public_bytes(Encoding.DER)).hexdigest()


def _with_signature(certificate: x509.Certificate, der: bytes, signature: bytes) -> bytes:
    """Return a certificate with another signature: SEQUENCE {what is signed, algorithm, BIT STRING}."""
    own = b"\x03" + _length(len(certificate.signature) + 1) + b"\0" + certificate.signature
    signed = der[der.index(certificate.tbs_certificate_bytes) :]
    if not signed.endswith(own):
        raise ValueError("its signature is no whole number of bytes")
    changed = b"\x03" + _length(len(signature) + 1) + b"\0" + signature
    content = signed.removesuffix(own) + changed
    return b"\x30" + _length(len(content)) + content


def _length(size: int) -> bytes:
    """Return a length in DER (X.690, section 8.1.3)."""
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
