"""From the settings to where mails are posted."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from claimbus.events.errors import ConfigurationError
from claimbus.mail.folder import Folder
from claimbus.mail.mail import sender_of
from claimbus.mail.post import Post
from claimbus.mail.smtp import Server, Smtp

SETTING: Final = "CLAIMBUS_MAIL_URL"


def open_post(url: str, *, sender: str, tls: Callable[[], ssl.SSLContext]) -> Post:
    """Return where mails are posted; nothing connects yet.

    ``url`` is ``smtp://user:password@host:587`` (STARTTLS is required, unless it ends in ``?tls=none``, which
    sends no password), ``smtps://…:465``, or ``file:///folder``. ``tls`` makes the context for a server.
    Raises ConfigurationError, which never quotes the URL.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "file":
            return Folder(_folder(parts), sender_of(sender))
        return Smtp(_server(parts), sender_of(sender), tls())
    except ConfigurationError:
        raise
    except ValueError as wrong:
        raise ConfigurationError(SETTING, "is no URL") from wrong


def _folder(parts: SplitResult) -> Path:
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or parts.query:
        raise ConfigurationError(SETTING, "must name a folder by its whole path, as in file:///var/mails")
    return path


def _server(parts: SplitResult) -> Server:
    if parts.scheme not in ("smtp", "smtps"):
        raise ConfigurationError(SETTING, "begins with none of smtp://, smtps://, file:///")
    if not parts.hostname or parts.path.strip("/"):
        raise ConfigurationError(SETTING, "must name a host and nothing behind it, as in smtp://host:587")
    if parts.query not in ("", "tls=none") or (parts.query and parts.scheme == "smtps"):
        raise ConfigurationError(SETTING, "has parameters; smtp:// knows tls=none, and nothing else is known")
    if parts.query and parts.username:
        raise ConfigurationError(SETTING, "would send its password in clear")
    if bool(parts.username) != bool(parts.password):
        raise ConfigurationError(SETTING, "has a user without a password, or a password without a user")
    return Server(
        host=parts.hostname,
        port=parts.port or (465 if parts.scheme == "smtps" else 587),
        tls="none" if parts.query else "starttls" if parts.scheme == "smtp" else "from the start",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
