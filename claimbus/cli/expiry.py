"""When certificates end: our own, the authorities whose clients we let in, and the clients seen of late."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from claimbus.cli.finding import Finding
from claimbus.cli.settings import Settings
from claimbus.database import authorities
from claimbus.events.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection

THRESHOLDS: Final = (1, 7, 14, 30)
"""Days before the end at which whom it concerns is told."""

URGENT: Final = 7
"""Days left from which the doctor calls it an error."""

OWN: Final = {
    "portal": "portal_certificate_file",
    "webhooks": "webhook_certificate_file",
    "RabbitMQ and Redis": "tls_certificate_file",
}
"""What our certificates are for, and the setting of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A certificate, what it is to us, and until when it can be used; ``fingerprint`` is its SHA-256.

    ``life``: how long it lasts in all, where it may be renewed by a machine.
    """

    what: str
    subject: str
    fingerprint: str
    until: datetime
    life: timedelta | None = None

    def days_left(self, now: datetime) -> float:
        """Return the days that are left, negative ones once it has ended."""
        return (self.until - now) / timedelta(days=1)

    def threshold(self, now: datetime) -> int | None:
        """Return the threshold that it has come under; None: it has not, or has ended.

        Machines renew with a third of a certificate's life left: that this nears is no news, a quarter is.
        """
        left = self.days_left(now)
        under = next((days for days in THRESHOLDS if 0 < left <= days), None)
        if under is None or self.life is None or timedelta(days=under) <= self.life / 4:
            return under
        return None


def dated(certificate: x509.Certificate, what: str, until: datetime | None = None) -> Dated:
    """Return a certificate's end, or an earlier one."""
    own = certificate.not_valid_after_utc
    return Dated(
        what=what,
        subject=certificate.subject.rfc4514_string(),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        until=own if until is None else min(own, until),
    )


def of_settings(settings: Settings) -> Iterator[Dated]:
    """Return of each of our certificates whichever ends first, it or one of its chain.

    Raises ConfigurationError naming the setting at fault.
    """
    for what, setting in OWN.items():
        file: Path | None = getattr(settings, setting)
        if file is not None:
            yield min((dated(one, what) for one in _read(file, setting)), key=lambda one: one.until)


def of_authorities(sql: "Connection", now: datetime) -> list[Dated]:
    """Return the authorities that count now, or will; one ends when its certificate does, or its period."""
    return [
        dated(x509.load_pem_x509_certificate(one.pem.encode()), f"authority {one.id}", one.counts_to)
        for one in authorities.find(sql)
        if one.counts_to is None or now < one.counts_to
    ]


def of_clients(seen: Mapping[bytes, datetime]) -> list[Dated]:
    """Return each subject's newest certificate of those seen: DER, and until when its chain counts."""
    newest: dict[str, Dated] = {}
    for der, until in seen.items():
        certificate = x509.load_der_x509_certificate(der)
        one = dated(certificate, f"client {certificate.subject.rfc4514_string()}", until)
        newest[one.subject] = max(one, newest.get(one.subject, one), key=lambda known: known.until)
    return list(newest.values())


def findings(settings: Settings) -> Iterator[Finding]:
    """Tell the doctor of our own certificates."""
    try:
        yield from judged(of_settings(settings))
    except ConfigurationError as wrong:
        yield Finding("error", "certificates", str(wrong))


def judged(certificates: Iterable[Dated], now: datetime | None = None) -> Iterator[Finding]:
    """Tell how long each lasts."""
    now = now or datetime.now(UTC)
    for one in certificates:
        left, subject = one.days_left(now), f"certificate: {one.what}"
        when = f"of {one.subject} ends on {one.until:%Y-%m-%d %H:%M} UTC"
        if left > max(THRESHOLDS):
            yield Finding("ok", subject, f"{when}, in {left:.0f} days")
        elif left > 0:
            urgent = left <= URGENT
            yield Finding("error" if urgent else "warning", subject, f"{when}, in {left:.1f} days: renew it")
        else:
            yield Finding("error", subject, f"{when}: it has ended, renew it")


def _read(file: Path, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as wrong:
        name = f"CLAIMBUS_{setting.upper()}"
        raise ConfigurationError(name, f"{file}: holds no readable certificate: {wrong}") from wrong
