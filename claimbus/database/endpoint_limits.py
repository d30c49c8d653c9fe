"""The limits of an endpoint's settings."""

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from claimbus.database.endpoint import DEFAULTS, Kind, Mode
from claimbus.database.names import check_name
from claimbus.events.errors import InvalidInputError

RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "concurrency": (1, 256),
    "rate_limit": (0.01, 10_000),
    "timeout_s": (0.1, 300),
    "age_limit_s": (60, 30 * 86_400),
    "schema_version": (1, 1000),
}
"""The least and the most that a number may be."""

LONGEST_URL: Final = 2048
"""Characters of a URL."""


def check(kind: Kind, settings: Mapping[str, Any], *, allow_http: bool) -> None:
    """Raise InvalidInputError naming a setting that cannot be. Plain HTTP only where it is allowed."""
    for name, value in settings.items():
        if name not in _CHECKS:
            raise InvalidInputError(name, "is no setting of an endpoint")
        if value is not None:
            _CHECKS[name](name, value)
        elif name not in _OPTIONAL:
            raise InvalidInputError(name, "must be given")
    url = settings.get("url")
    if kind == "stream" and url is not None:
        raise InvalidInputError("url", "belongs to webhooks; a stream has none")
    if kind == "webhook" and url is None:
        raise InvalidInputError("url", "must be given for a webhook")
    if url is not None and not allow_http and not url.lower().startswith("https://"):
        raise InvalidInputError("url", "must begin with https://")


def _one_of(allowed: tuple[object, ...], name: str, value: object) -> None:
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        raise InvalidInputError(name, f"must be one of {', '.join(map(str, allowed))}")


def _whole_number(least: float, most: float, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInputError(name, f"must be a whole number from {least} to {most}")


def _number(least: float, most: float, name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInputError(name, f"must be a number from {least:g} to {most:g}")


def _url(name: str, url: str) -> None:
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        told = f"must be at most {LONGEST_URL:,} printable ASCII characters without blanks"
        raise InvalidInputError(name, told)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(name, f"is malformed: {error}") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise InvalidInputError(name, "must begin with https:// and a host")
    if "@" in parts.netloc:
        raise InvalidInputError(name, "must not carry a user name or password")
    if parts.fragment:
        raise InvalidInputError(name, "must not have a fragment")


def _certificates(name: str, pem: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, TypeError, ValueError) as error:
        raise InvalidInputError(name, "holds no certificates in PEM form") from error


_CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "name": check_name,
    "url": _url,
    "mode": partial(_one_of, get_args(Mode)),
    "ordered": partial(_one_of, (True, False)),
    "latest_only": partial(_one_of, (True, False)),
    "concurrency": partial(_whole_number, *RANGES["concurrency"]),
    "rate_limit": partial(_number, *RANGES["rate_limit"]),
    "timeout_s": partial(_number, *RANGES["timeout_s"]),
    "age_limit_s": partial(_whole_number, *RANGES["age_limit_s"]),
    "schema_version": partial(_whole_number, *RANGES["schema_version"]),
    "ca_pem": _certificates,
}
_OPTIONAL: Final = frozenset(name for name, default in DEFAULTS.items() if default is None)
