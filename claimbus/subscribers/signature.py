"""Trust what arrives: Standard Webhooks signatures (https://www.standardwebhooks.com), scheme ``v1``.

The `standardwebhooks` library verifies text only: a body that is not UTF-8 (gzip, a workbook) raises in it.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers import binding
from claimbus.subscribers.errors import SignatureError
from claimbus.subscribers.received import Received

SHORTEST: Final = 16
"""Bytes of a secret; Standard Webhooks has 24 at least, and a shorter one is a mistake."""

TOLERANCE: Final = timedelta(minutes=5)
"""How far a timestamp may be from our clock, either way: what Standard Webhooks' own libraries allow."""


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    *,
    tolerance: timedelta = TOLERANCE,
    now: datetime | None = None,
) -> Received:
    """Return the event of a webhook's request, proved to come from who holds one of the secrets.

    ``headers`` in any case; ``body`` exactly as it arrived; ``secrets`` as the ISO showed them (``whsec_…``),
    all that are valid now. ``now`` stands in for the clock and must have a time zone.

    Raises SignatureError, MalformedEventError, and ConfigurationError for an unusable secret.
    """
    return Verifier(secrets, tolerance=tolerance).verify(headers, body, now=now)


class Verifier:
    """`verify` with secrets that are decoded once."""

    def __init__(self, secrets: Sequence[str], *, tolerance: timedelta = TOLERANCE) -> None:
        """Raise ConfigurationError for an unusable secret, and for none."""
        if isinstance(secrets, str) or not secrets:
            raise ConfigurationError("secrets", "must be a list of at least one")
        self._keyed = tuple(hmac.new(_key(secret), digestmod="sha256") for secret in secrets)
        self._tolerance = tolerance.total_seconds()

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> Received:
        """See `verify`."""
        named = {name.lower(): value for name, value in headers.items()}
        self.admit(named, now=now)
        signed = f"{named['webhook-id']}.{named['webhook-timestamp']}.".encode()
        given = [one.encode() for one in named["webhook-signature"].split(" ")]
        fits = False
        for keyed in self._keyed:
            mac = keyed.copy()
            mac.update(signed)
            mac.update(body)
            expected = b"v1," + base64.b64encode(mac.digest())
            for one in given:  # all of them, so that the time taken tells nothing
                fits |= hmac.compare_digest(expected, one)
        if not fits:
            raise SignatureError("mismatch")
        return binding.received(named, body)

    def admit(self, headers: Mapping[str, str], *, now: datetime | None = None) -> None:
        """Raise SignatureError for headers, in lower case, that no body can make good."""
        given = [headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
        timestamp = given[1]
        if not (all(given) and all(map(str.isascii, given)) and timestamp.isdigit()):
            raise SignatureError("missing")
        clock = time.time() if now is None else now.timestamp()
        if len(timestamp) > 12 or abs(clock - int(timestamp)) > self._tolerance:
            raise SignatureError("timestamp")


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as wrong:
        raise ConfigurationError("secrets", "one is not whsec_ and base64") from wrong
    if len(key) < SHORTEST:
        raise ConfigurationError("secrets", f"one is no whsec_ secret: it has {len(key)} bytes")
    return key
