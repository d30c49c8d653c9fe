"""The client certificate by which receivers know us: shown as it is, or nothing is sent."""

import time
from typing import Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from claimbus.events.errors import ConfigurationError

FIELD: Final = "identity_pem"


class Identity:
    """Our certificate, the chain after it, and its private key, all in ``pem``.

    A certificate that expires while we run ends what is sent: a receiver that does not insist on one would
    otherwise be sent events by somebody whom it cannot know.
    """

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self._begins = self._ends = 0.0
        self._fault = ""
        try:
            certificates, key = load_pem_x509_certificates(pem), load_pem_private_key(pem, None)
        except (ValueError, TypeError) as unreadable:  # TypeError: the key has a password
            self._fault = f"no certificate with its key: {unreadable}"
            return
        if certificates[0].public_key() != key.public_key():
            self._fault = "the key is not the certificate's"
        self._begins = max(one.not_valid_before_utc.timestamp() for one in certificates)
        self._ends = min(one.not_valid_after_utc.timestamp() for one in certificates)

    def check(self) -> None:
        """Raise ConfigurationError unless it can be used at this moment."""
        fault = self._fault
        if not fault and not self._begins <= time.time() < self._ends:
            fault = "the certificate, or one of its chain, has expired or is not valid yet"
        if fault:
            raise ConfigurationError(FIELD, fault)
