"""Who is told by mail, and through which server."""

import ssl
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry

from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.events.errors import ConfigurationError
from claimbus.events.tls import client_context
from claimbus.mail.opening import open_post
from claimbus.mail.post import Post
from consumers.contacts import Contacts
from consumers.wording import Wording
from consumers.worker import worker_name


def post_office(settings: Settings) -> Post | None:
    """Return where mails are posted; None: nowhere. Raises ConfigurationError."""
    if not settings.mail_url:
        return None

    def tls() -> ssl.SSLContext:
        try:
            return client_context(ca_file=settings.mail_ca_file)
        except ConfigurationError as wrong:
            raise ConfigurationError("CLAIMBUS_MAIL_CA_FILE", wrong.reason) from wrong

    return open_post(settings.mail_url, sender=settings.mail_from, tls=tls)


def open_contacts(wiring: Wiring, registry: CollectorRegistry) -> Contacts | None:
    """Return what tells contacts by mail; None: it is not set up."""
    settings, post = wiring.settings, post_office(wiring.settings)
    if post is None:
        return None
    wording = Wording(
        environment=settings.environment,
        portal_url=settings.portal_url.rstrip("/"),
        zone=ZoneInfo(settings.feed_timezone),
    )
    return Contacts(
        wiring.database(),
        post,
        wording,
        name=worker_name(),
        registry=registry,
        gather=settings.mail_gather,
    )
