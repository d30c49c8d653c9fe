"""Whether a client certificate is genuine: its chain, up to an authority that counts now."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from claimbus.database import authorities, shown_certificates
from claimbus.database.access import Certificate
from claimbus.database.authorities import Authority
from claimbus.database.engine import Database
from claimbus.database.shown_certificates import Shown
from claimbus.events.errors import ClaimbusError, UnavailableError
from claimbus.portal.fingerprints import fingerprints

FRESH_EVERY: Final = 30.0
"""Seconds between looks at the database. What is known of an authority's period counts to the second."""

REMEMBERED: Final = 1000
"""Chains that are not verified anew at each request: it takes 0.2 ms."""

_log = structlog.get_logger("claimbus.portal.trust")


class UntrustedError(ClaimbusError):
    """A certificate that does not count; the message says why, for the log."""


class _Verified(NamedTuple):
    """``until`` then it counts, with a look ``anew`` before that when the first way to an authority ends."""

    certificate: Certificate
    until: datetime
    anew: datetime
    by: tuple[Authority, ...]


class Trust:
    """The authorities that the database knows, and whom they vouch for."""

    def __init__(self, database: Database) -> None:
        """Trust nobody before the first `refresh`."""
        self._database = database
        self._known: tuple[Authority, ...] = ()
        self._verified: OrderedDict[tuple[bytes, ...], _Verified] = OrderedDict()
        self._shown: dict[bytes, _Verified] = {}

    async def refresh(self) -> None:
        """Read the authorities anew. Raises DatabaseUnavailableError."""
        self._known = await self._database.read(authorities.find)

    async def note(self) -> None:
        """Note in the database which certificates were shown since the last time.

        Raises DatabaseUnavailableError; those of this time are noted the next time then.
        """
        now, shown = datetime.now(UTC), self._shown
        self._shown = {}
        if shown:
            rows = [
                Shown(sha256(der).hexdigest(), found.certificate.subject, found.until, now)
                for der, found in shown.items()
            ]
            try:
                await self._database.run(lambda sql: shown_certificates.note(sql, rows, now))
            except UnavailableError:
                self._shown = shown | self._shown
                raise

    async def keep_fresh(self) -> None:
        """Read the authorities and note what was shown, now and again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
                await self.note()
            except UnavailableError as away:
                _log.warning("authorities not refreshed", reason=str(away), next="keep those known")
            except Exception:  # noqa: BLE001 - logged; one that ended must not count for ever
                _log.exception("authorities not refreshed", next="keep those known")
            await asyncio.sleep(FRESH_EVERY)

    def authorities(self, now: datetime) -> tuple[Authority, ...]:
        """Return those that count at a moment."""
        return tuple(one for one in self._known if one.counts(now))

    def verified(self, chain: Sequence[bytes]) -> Certificate:
        """Return what a chain's first certificate says, once all of it counts now.

        ``chain`` is in DER, the client's own certificate first; the others may lead to the authority. Raises
        UntrustedError.
        """
        now, key = datetime.now(UTC), tuple(chain)
        counting = self.authorities(now)
        found = self._verified.get(key)
        if found is None or found.by != counting or now > found.anew:
            self._verified.pop(key, None)
            found = self._verified[key] = _verified(chain, counting, now)
            if len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        self._shown[key[0]] = found
        return found.certificate

    def seen(self) -> dict[bytes, datetime]:
        """Return the clients' certificates (DER) that were verified of late, and until when each counts."""
        return {chain[0]: found.until for chain, found in self._verified.items()}


def _verified(chain: Sequence[bytes], by: tuple[Authority, ...], now: datetime) -> _Verified:
    if not by:
        raise UntrustedError("no authority counts now")
    try:
        client, *between = map(x509.load_der_x509_certificate, chain)
        subject = client.subject.rfc4514_string()
    except ValueError as wrong:
        raise UntrustedError(f"{wrong!s:.300}") from wrong
    if not subject:
        raise UntrustedError("the certificate has no subject")
    trusted = [x509.load_pem_x509_certificate(one.pem.encode()) for one in by]
    paths: dict[str, list[x509.Certificate]] = {}
    reasons = []
    for authority, root in zip(by, trusted, strict=True):  # each by itself: a subject may be one's only
        try:
            paths[authority.id] = _path(client, [*between, *trusted], root, now)
        except (VerificationError, ValueError) as wrong:
            reasons.append(f"{wrong!s:.300}")
    if not paths:
        raise UntrustedError("; ".join(dict.fromkeys(reasons)))
    ends = [min(one.not_valid_after_utc for one in path) for path in paths.values()]
    try:
        known = frozenset(one for path in paths.values() for one in fingerprints(path))
    except ValueError as wrong:
        raise UntrustedError(str(wrong)) from wrong
    return _Verified(Certificate(subject, frozenset(paths), known), max(ends), min(ends), by)


def _path(
    client: x509.Certificate, between: list[x509.Certificate], root: x509.Certificate, now: datetime
) -> list[x509.Certificate]:
    """Return the certificates from the client's to the root. Raises VerificationError and ValueError."""
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(now)
        .extension_policies(ca_policy=_AUTHORITIES, ee_policy=_CLIENTS)
        .build_client_verifier()
    )
    return verifier.verify(client, between).chain


def _signs(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's key is not for signing certificates")


def _is_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("signed by what is no authority")


def _is_no_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("is an authority's own")


def _is_for_clients(_: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    for_all = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and for_all.isdisjoint(usage):
        raise ValueError("is not for clients")


# The library's own policies are those of the public web (a DNS name in each certificate, key identifiers),
# which companies' authorities seldom follow. It checks dates, signatures, path lengths and name constraints,
# and refuses critical extensions that it does not know, whatever the policy.
_CLIENTS: Final = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_authority)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_clients)
)
_AUTHORITIES: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
)
