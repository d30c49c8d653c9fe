"""A look at the certificate that a receiver shows: a TLS handshake, after which nothing is sent.

Whether it may be trusted is for deliveries to judge. Here it is read whatever it is worth: one that has ended
is just what its keeper must hear of.
"""

import asyncio
import hashlib
import ssl

from cryptography import x509

from claimbus.database.receiver_certificates import Certificate
from consumers.answer import one_line


async def shown_at(
    address: str, port: int, *, name: str, tls: ssl.SSLContext, within: float
) -> Certificate | None:
    """Return the certificate that is shown for a name at an address; None: none, in so many seconds.

    ``tls`` is a `claimbus.events.tls.looking_context`. Never raises for what the other side does.
    """
    try:
        async with asyncio.timeout(within):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, address, port, ssl=tls, server_hostname=name
            )
    except (OSError, ValueError):  # ValueError: a name that TLS cannot ask for
        return None
    try:
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        transport.abort()
    return None if der is None else _read(der)


def _read(der: bytes) -> Certificate | None:
    try:
        found = x509.load_der_x509_certificate(der)
        return Certificate(
            fingerprint=hashlib.sha256(der).hexdigest(),
            subject=one_line(found.subject.rfc4514_string()),
            issuer=one_line(found.issuer.rfc4514_string()),
            begins_at=found.not_valid_before_utc,
            ends_at=found.not_valid_after_utc,
        )
    except ValueError:  # OpenSSL reads what this does not
        return None
