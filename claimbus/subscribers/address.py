"""Where the ISO's portal and a participant's stream are, and what the participant shows there."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from claimbus.events.errors import ConfigurationError
from claimbus.events.stream import DEFAULT_PREFETCH, MAX_PREFETCH
from claimbus.events.tls import client_context

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a participant shows to the ISO, and by which authorities it knows the ISO.

    PEM files: ``certificate_file`` with its chain, and its ``key_file`` unless the key is in there too;
    ``ca_file`` instead of the system's authorities. ``token`` is a bearer token, beside a certificate or
    without one. The files are read anew for each connection, so a renewed certificate is taken up.
    """

    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None and not (
            self.token and self.token.isascii() and self.token.isprintable() and " " not in self.token
        ):
            raise ConfigurationError("token", "must be of printable ASCII characters, without spaces")

    def context(self) -> ssl.SSLContext:
        """Return the TLS context for connecting. Raises ConfigurationError for an unusable file."""
        return client_context(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )

    def headers(self) -> Mapping[str, str]:
        """Return the HTTP headers that identify us."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a stream is: ``url`` is the portal's (``wss://host:port``), ``endpoint_id`` ours there.

    ``prefetch`` is the number of deliveries that may be unanswered. Raises ConfigurationError.
    """

    url: str
    endpoint_id: str
    prefetch: int = DEFAULT_PREFETCH

    def __post_init__(self) -> None:
        _checked(self.url, "url", secure="wss", plain="ws")
        if not self.endpoint_id:
            raise ConfigurationError("endpoint_id", "is empty")
        if not 1 <= self.prefetch <= MAX_PREFETCH:
            raise ConfigurationError("prefetch", f"must be from 1 to {MAX_PREFETCH}")

    @property
    def secure(self) -> bool:
        """Whether it is over TLS."""
        return urlsplit(self.url).scheme == "wss"

    @property
    def portal(self) -> str:
        """The portal's URL for what is fetched: ``https://host:port``."""
        return urlsplit(self.url)._replace(scheme="https" if self.secure else "http").geturl()

    def __str__(self) -> str:
        endpoint = quote(self.endpoint_id, safe="")
        return f"{self.url.rstrip('/')}/v1/endpoints/{endpoint}/stream?prefetch={self.prefetch}"


class Origin(NamedTuple):
    """Who answers at a URL (RFC 6454): what we show is for one of these only."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def origin_of(url: str) -> Origin:
    """Return an HTTP URL's origin. Raises ValueError when it has none."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is no URL of HTTP")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


def portal_origin(url: str) -> Origin:
    """Return the origin of a portal, ``https://HOST:PORT``. Raises ConfigurationError."""
    _checked(url, "portal", secure="https", plain="http")
    return origin_of(url)


def _checked(url: str, field: str, *, secure: str, plain: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as wrong:
        raise ConfigurationError(field, f"is malformed: {wrong}") from wrong
    if not host or parts.scheme not in (secure, plain):
        raise ConfigurationError(field, f"must be of the form {secure}://HOST:PORT")
    if parts.scheme == plain and host not in _LOOPBACK:
        raise ConfigurationError(field, f"must begin with {secure}://; {plain}:// is for this machine only")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(field, "must have no user, query or fragment")
