"""How a receiver answered, as a value; and what each failure says about whether the request got there."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from pyreqwest.exceptions import (
    BuilderError,
    ClientClosedError,
    DecodeError,
    PoolTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)

Failure = Literal[
    "refused-address",  # the URL leads into a network that no webhook may reach
    "dns",  # the host has no address
    "connect",  # nobody accepts the connection, or not in time
    "tls",  # no handshake: certificate, protocol version, client certificate
    "configuration",  # our own: unusable CA or client certificate
    "busy",  # no connection of this endpoint became free in time
    "timeout",  # connected, but no complete answer in time
    "reset",  # the connection broke after the request was on its way
    "protocol",  # what came back is no HTTP
    "closed",  # we closed the webhook while it waited
]

NEVER_SENT: Final[frozenset[Failure]] = frozenset(
    {"refused-address", "dns", "connect", "tls", "configuration", "busy"}
)
"""Failures after which the receiver has surely not seen the request."""

_BY_CLASS: Final[Mapping[type[PyreqwestError], Failure]] = {
    ClientClosedError: "closed",
    PoolTimeoutError: "busy",
    BuilderError: "configuration",
    DecodeError: "protocol",
}

MAX_RETRY_AFTER: Final = 86_400.0
MAX_DETAIL: Final = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """How the other side answered, not yet judged: either a status or a failure.

    ``retry_after`` is in seconds from now, at most a day. ``head`` is the first 2 KiB of the answer's body.
    ``detail`` is one line for an operator, without the URL, secrets or bodies.
    """

    status: int | None
    failure: Failure | None
    duration_ms: int
    detail: str
    retry_after: float | None = None
    head: bytes = b""

    @property
    def sent(self) -> bool:
        """Whether the receiver may have seen the request."""
        return self.failure not in NEVER_SENT


def failure_of(error: PyreqwestError) -> tuple[Failure, str]:
    """Return the failure that an exception of the HTTP client stands for, and its detail.

    The exception's class says too little (an answer that never comes is a ConnectTimeoutError), so its chain
    of causes decides. The first of them names the URL, which may hold a token, and is never shown.
    """
    causes = [cause["message"] for cause in (getattr(error, "details", None) or {}).get("causes") or ()]
    reason = causes[-1] if len(causes) > 1 else error.message
    return _kind(error, causes, reason), reason


def _kind(error: PyreqwestError, causes: Sequence[str], reason: str) -> Failure:
    for kind, failure in _BY_CLASS.items():
        if isinstance(error, kind):
            return failure
    timed_out = isinstance(error, RequestTimeoutError)
    connecting = "client error (Connect)" in causes
    if "dns error" in causes:
        return "dns"
    if connecting and (timed_out or "tcp connect error" in causes):
        return "connect"
    # A server of TLS 1.3 refuses our client certificate only after our side of the handshake is done.
    if connecting or reason.startswith("received fatal alert"):
        return "tls"
    return "timeout" if timed_out else "reset"


def one_line(text: str) -> str:
    """Return text that the other side may have chosen as one short printable line."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 1] + "…"


def retry_after_of(value: str | None) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date. None when absent or malformed; never over a day."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - time.time(), 0.0), MAX_RETRY_AFTER)
