"""A look at a TLS listener from outside: which versions it offers, what it shows, whom it lets in.

Each version is tried over a connection of its own that speaks no other, and is believed only if this side
really offered it. Nothing is sent but handshakes, so any listener will do: HTTPS, AMQPS, Redis.
"""

import re
import socket
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from claimbus.cli.tls_messages import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CLIENT_HELLO,
    authorities,
    certificates,
)
from claimbus.events.errors import ClaimbusError
from claimbus.events.tls import MINIMUM_VERSION, client_context

VERSIONS: Final = (
    ssl.TLSVersion.TLSv1,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)

OBJECTION_WITHIN: Final = 1.0
"""Seconds in which a peer may still refuse a certificate: in TLS 1.3 it does so after the handshake."""

_HANDSHAKE: Final = 22
_OP_LEGACY_SERVER_CONNECT: Final = 0x4  # has a name from Python 3.12 on


class LookFailedError(ClaimbusError):
    """The peer cannot be connected to, or what it shows cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is looked at; ``name`` is the one asked for in the handshake and wanted in the certificate."""

    host: str
    port: int
    name: str
    within: float = 5.0
    """Seconds for a connection, and for each answer in the handshake."""

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """Connect. Raises LookFailedError."""
        try:
            connected = socket.create_connection((self.host, self.port), self.within)
        except OSError as failed:
            raise LookFailedError(f"{self.host}:{self.port}: {failed.strerror or failed}") from failed
        with connected:
            yield connected


class Offer(NamedTuple):
    """Whether a peer offers a version, with its cipher suite or why not; None: we cannot even ask for it."""

    version: ssl.TLSVersion
    offered: bool | None
    cipher: str | None
    refusal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen.

    ``chain`` is as the peer shows it, its own certificate first. ``distrust`` tells why it is not to be
    trusted. ``accepts`` are the authorities of client certificates that the peer names, None when it asks for
    no certificate. ``refusal`` tells how it refused our certificate, or us for showing none.
    """

    offers: Sequence[Offer]
    chain: Sequence[x509.Certificate] = ()
    distrust: str | None = None
    accepts: Sequence[str] | None = None
    refusal: str | None = None


class _Met(NamedTuple):
    """How a handshake went: the messages of either side by type, and what it failed of."""

    read: Mapping[int, bytes]
    written: Mapping[int, bytes]
    cipher: str | None
    failure: OSError | None


def look(
    peer: Peer,
    *,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
) -> Look:
    """Look at a peer; ``ca_file`` replaces the system's authorities, the others are what we show.

    Raises LookFailedError, and ConfigurationError naming the argument at fault.
    """
    trusting = client_context(ca_file=ca_file, certificate_file=certificate_file, key_file=key_file)
    contexts = [_speaking_only(version) for version in VERSIONS]
    with ThreadPoolExecutor(len(VERSIONS)) as threads:
        met = dict(zip(VERSIONS, threads.map(lambda context: _meet(peer, context), contexts), strict=True))
    offers = [_offer(version, met[version]) for version in VERSIONS]
    newest = max((one.version for one in offers if one.offered), default=None)
    if newest is None:
        return Look(offers=offers)
    distrust, refusal = (None, None) if newest < MINIMUM_VERSION else _judged(peer, trusting)
    shown, asked = met[newest].read.get(CERTIFICATE), met[newest].read.get(CERTIFICATE_REQUEST)
    try:
        return Look(
            offers=offers,
            chain=certificates(shown, newest) if shown else (),
            distrust=distrust,
            accepts=None if asked is None else authorities(asked, newest),
            refusal=None if asked is None else refusal,
        )
    except ValueError as wrong:
        raise LookFailedError(f"{peer.host}:{peer.port}: {wrong}") from wrong


def _offer(version: ssl.TLSVersion, met: _Met) -> Offer:
    """Judge one handshake; it need not end well: the peer may insist on a certificate of ours."""
    if met.failure is None or CERTIFICATE in met.read:
        return Offer(version, offered=True, cipher=met.cipher, refusal=None)
    offered = False if CLIENT_HELLO in met.written else None
    return Offer(version, offered, cipher=None, refusal=_reason(met.failure))


def _judged(peer: Peer, context: ssl.SSLContext) -> tuple[str | None, str | None]:
    """Meet a peer as we meet any: tell why we do not trust it, and why it does not let us in."""
    met = _meet(peer, context, waits=True)
    if met.failure is None:
        return None, None
    reason = _reason(met.failure)
    went_on = any(message != CLIENT_HELLO for message in met.written)
    return (None, reason) if went_on else (reason, None)


def _meet(peer: Peer, context: ssl.SSLContext, *, waits: bool = False) -> _Met:
    """Shake hands; ``waits`` for objections after it."""
    read: dict[int, bytes] = {}
    written: dict[int, bytes] = {}

    def note(_: object, direction: str, __: int, content: int, message: int, data: bytes) -> None:
        if content == _HANDSHAKE:
            (read if direction == "read" else written).setdefault(message, data)

    # Python has no other way to what a peer asks for, nor, before 3.13, to the chain that it shows.
    context._msg_callback = note  # type: ignore[attr-defined]  # noqa: SLF001
    cipher = None
    with peer.connection() as plain:
        try:
            with context.wrap_socket(plain, server_hostname=peer.name) as secured:
                cipher = (secured.cipher() or ("",))[0]
                if waits:
                    _wait_for_objection(secured)
        except OSError as failed:  # ssl.SSLError is one
            return _Met(read, written, cipher, failed)
    return _Met(read, written, cipher, None)


def _wait_for_objection(secured: ssl.SSLSocket) -> None:
    secured.settimeout(OBJECTION_WITHIN)
    with suppress(TimeoutError):
        secured.recv(1)


def _speaking_only(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a context for looking, not for talking: it speaks old versions too, and believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise OpenSSL 3 does not even offer TLS 1.0 and 1.1
    context.options |= _OP_LEGACY_SERVER_CONNECT  # as old as these are servers that know no RFC 5746
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"ssl\.TLSVersion\.TLSv1(_1)? is deprecated", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def _reason(failure: OSError) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return failure.verify_message
    if isinstance(failure, ssl.SSLError) and failure.reason:
        alert = re.sub(r"^(SSLV3|TLSV13?)_", "", failure.reason)  # OpenSSL's own prefix, whatever the version
        return alert.replace("_", " ").lower()
    return "no answer" if isinstance(failure, TimeoutError) else failure.strerror or str(failure)
