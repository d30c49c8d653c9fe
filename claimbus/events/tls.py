"""TLS contexts: 1.2 or newer, the peer verified wherever anything is sent. No other place builds one."""

import ssl
from collections.abc import Iterable
from pathlib import Path

from claimbus.events.errors import ConfigurationError

MINIMUM_VERSION = ssl.TLSVersion.TLSv1_2


def client_context(
    *,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """Return a context for connecting, which verifies the server's certificate and name.

    ``ca_file`` (PEM) replaces the system's authorities. ``certificate_file`` (PEM, with its chain) and
    ``key_file`` are what this side shows; the key may be in the certificate's file. Raises
    ConfigurationError naming the argument at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = MINIMUM_VERSION
    if ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, ca_file, "ca_file")
    if certificate_file is not None:
        _load_certificate(context, certificate_file, key_file, key_password)
    elif key_file is not None:
        raise ConfigurationError("key_file", "is of no use without certificate_file")
    return context


def looking_context(*, certificate_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """Return a context for looking at the certificate that a server shows, whatever it is worth.

    It believes anybody, so nothing may be sent over it. What this side shows is as in `client_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = MINIMUM_VERSION
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate_file is not None:
        _load_certificate(context, certificate_file, key_file, None)
    return context


def server_context(
    certificate_file: Path,
    key_file: Path | None = None,
    *,
    key_password: str | None = None,
    client_ca_file: Path | None = None,
    client_authorities: Iterable[str] | None = None,
) -> ssl.SSLContext:
    """Return a context for listening.

    With ``client_ca_file``, clients must show a certificate of it. With ``client_authorities`` (PEM; none is
    some too) they may show one of any of these, roots or not, and whoever listens judges by it; sessions are
    not resumed then, so that each connection shows its certificate anew. Raises ConfigurationError naming the
    argument at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MINIMUM_VERSION
    _load_certificate(context, certificate_file, key_file, key_password)
    if client_ca_file is not None:
        _load_authorities(context, client_ca_file, "client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    elif client_authorities is not None:
        for pem in client_authorities:
            context.load_verify_locations(cadata=pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _load_authorities(context: ssl.SSLContext, file: Path, field: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except OSError as wrong:  # ssl.SSLError is one
        raise ConfigurationError(field, f"{file}: holds no readable certificates: {wrong}") from wrong


def _load_certificate(
    context: ssl.SSLContext, certificate: Path, key: Path | None, password: str | None
) -> None:
    try:
        # An empty password, so that OpenSSL does not ask for one on the terminal.
        context.load_cert_chain(certificate, key, password or "")
    except OSError as wrong:
        raise ConfigurationError(
            "certificate_file", f"{certificate}: no certificate with its key: {wrong}"
        ) from wrong
