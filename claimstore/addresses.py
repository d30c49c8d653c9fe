"""Where Redis is: one server, the master that sentinels name, or a cluster; and how to connect there."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from claimbus.events.errors import ConfigurationError

Host: TypeAlias = tuple[str, int]
"""A name or IP address, and a port."""

Settings: TypeAlias = dict[str, Any]

SETTING: Final = "redis_url"

_SHAPE: Final = (
    "is no redis://, rediss:// or unix:// URL, and no redis+sentinel://HOST:PORT,.../SERVICE[/DB] "
    "or redis+cluster://HOST:PORT,... either (with TLS rediss+...)"
)


class GivenTLS(SSLConnection):
    """A TLS connection with a ready context, in place of redis-py's own settings."""

    def __init__(self, *, context: ssl.SSLContext, **settings: Any) -> None:  # noqa: ANN401  # redis-py's
        super().__init__(**settings)
        self.ssl_context.context = context


@dataclass(frozen=True)
class Address:
    """What a URL says. ``settings`` are redis-py's, of a connection to a server that holds data.

    ``hosts`` are the sentinels, or some of the cluster's servers; the two ``sentinel``'s settings and
    ``service`` are for sentinels only.
    """

    kind: Literal["server", "sentinel", "cluster"]
    settings: Settings = field(repr=False)
    hosts: Sequence[Host] = ()
    service: str = ""
    sentinel_settings: Settings = field(default_factory=dict, repr=False)


def parse_address(url: str, tls: ssl.SSLContext | None = None) -> Address:
    """Read a URL; one that asks for TLS gets the context. Raises ConfigurationError.

    It never quotes the password: so the causes, which may hold a piece of it, are left out.
    """
    scheme, _, rest = url.partition("://")
    try:
        match scheme:
            case "redis+sentinel" | "rediss+sentinel":
                return _sentinel(*_split(rest), _secured(scheme, tls))
            case "redis+cluster" | "rediss+cluster":
                return _cluster(*_split(rest), _secured(scheme, tls))
        settings: Settings = dict(parse_url(url))
    except ValueError:
        raise ConfigurationError(SETTING, _SHAPE) from None
    if tls is not None and settings.get("connection_class") is SSLConnection:
        settings |= _secured(scheme, tls)
    return Address("server", settings)


def limits(*, most: int, connect_within: float) -> Settings:
    """Return redis-py's settings of a pool that opens up to ``most`` connections, one by one when needed."""
    return {
        "max_connections": most,
        "protocol": 2,
        "socket_connect_timeout": connect_within,
        "socket_timeout": None,  # a batch is bounded as a whole, which is cheaper than each of its replies
        "socket_read_size": 1 << 18,
    }


def show(host: Host) -> str:
    """Return host:port."""
    return f"{host[0]}:{host[1]}"


def _split(rest: str) -> tuple[str, SplitResult]:
    """Return the hosts, and all of the URL but them: several, one in brackets, are no URL to urllib."""
    place = re.match(r"[^/?#]*", rest)
    netloc = place[0] if place else ""
    credentials, at, hosts = netloc.rpartition("@")
    return hosts, urlsplit(f"redis://{credentials}{at}host{rest[len(netloc) :]}")


def _sentinel(hosts: str, parts: SplitResult, secured: Settings) -> Address:
    service, _, database = parts.path.strip("/").partition("/")
    query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    user, password = query.pop("sentinel_username", None), query.pop("sentinel_password", None)
    if not service or query:
        raise ValueError
    return Address(
        "sentinel",
        {"db": int(database or 0), **secured, **_credentials(parts.username, parts.password)},
        _hosts(hosts, 26379),
        unquote(service),
        {**secured, "username": user, "password": password},
    )


def _cluster(hosts: str, parts: SplitResult, secured: Settings) -> Address:
    if parts.path.strip("/") not in ("", "0") or parts.query:
        raise ValueError
    settings = {**secured, **_credentials(parts.username, parts.password)}
    return Address("cluster", settings, _hosts(hosts, 6379))


def _hosts(listed: str, port: int) -> list[Host]:
    hosts = [urlsplit(f"//{one}") for one in listed.split(",")]
    if not all(one.hostname for one in hosts):
        raise ValueError
    return [(one.hostname or "", one.port or port) for one in hosts]


def _credentials(user: str | None, password: str | None) -> Settings:
    return {
        "username": unquote(user) if user else None,
        "password": unquote(password) if password else None,
    }


def _secured(scheme: str, tls: ssl.SSLContext | None) -> Settings:
    if not scheme.startswith("rediss"):
        return {}
    return {"connection_class": GivenTLS, "context": tls or ssl.create_default_context()}
