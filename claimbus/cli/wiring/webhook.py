"""What posts to endpoints, as the settings say."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from claimbus.cli.settings import Settings
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import ConfigurationError
from claimbus.events.tls import looking_context
from consumers.addresses import AddressGuard
from consumers.identity import Identity
from consumers.webhook import Webhook


def address_guard(settings: Settings) -> AddressGuard:
    """Return the guard of where webhooks may connect to."""
    return AddressGuard(allow=settings.webhook_networks, ports=settings.webhook_ports)


def webhooks(settings: Settings) -> Callable[[Endpoint], Webhook]:
    """Return what makes an endpoint's webhook."""
    guard = address_guard(settings)
    identity = _identity(settings.webhook_certificate_file, settings.webhook_key_file)
    looking = looking_context(
        certificate_file=settings.webhook_certificate_file, key_file=settings.webhook_key_file
    )
    authorities = _read(settings.webhook_ca_file, "CLAIMBUS_WEBHOOK_CA_FILE")

    def webhook(endpoint: Endpoint) -> Webhook:
        own = endpoint.ca_pem.encode() if endpoint.ca_pem else None
        return Webhook(
            endpoint.url or "",
            secrets=endpoint.signing_secrets(datetime.now(UTC)),
            guard=guard,
            timeout=endpoint.timeout_s,
            connect_timeout=settings.webhook_connect_timeout.total_seconds(),
            concurrency=1 if endpoint.ordered else endpoint.concurrency,
            ca_pem=own or authorities,
            identity_pem=identity,
            looking=looking,
            allow_http=settings.webhook_allow_http,
            origin=settings.webhook_origin or f"{settings.environment}.claimbus",
        )

    return webhook


def _identity(certificate: Path | None, key: Path | None) -> bytes | None:
    """Return our certificate and key. What cannot be used stops the start: nothing is sent without it."""
    setting = "CLAIMBUS_WEBHOOK_CERTIFICATE_FILE"
    if certificate is None:
        if key is not None:
            raise ConfigurationError(setting, "must be given with CLAIMBUS_WEBHOOK_KEY_FILE")
        return None
    found = _read(certificate, setting) or b""
    pem = found + (_read(key, "CLAIMBUS_WEBHOOK_KEY_FILE") or b"")
    try:
        Identity(pem).check()
    except ConfigurationError as unusable:
        raise ConfigurationError(setting, f"{certificate}: {unusable.reason}") from unusable
    return pem


def _read(file: Path | None, setting: str) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as unreadable:
        raise ConfigurationError(setting, f"{file}: {unreadable.strerror}") from unreadable
