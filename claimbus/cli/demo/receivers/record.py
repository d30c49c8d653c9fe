"""What receivers write down of every request: JSON lines, on disk before the answer goes out."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

Headers = Sequence[tuple[str, str]]
"""Names in lower case, in the order of the request."""

KEPT: Final = 1024 * 1024
"""Bytes of the largest body that is kept; of a larger one only the size and the digest are."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived. ``body`` is None when it was too large to keep.

    ``event``: the CloudEvents attributes, of binary or of structured mode. ``verified``: the signature is
    right. ``answered``: the status that it got, or what was done to it instead, after ``delay`` seconds.
    ``wall`` and ``monotonic``: when it had arrived; the latter can be compared between processes.
    """

    receiver: str
    target: str
    headers: Headers
    event: Mapping[str, str]
    size: int
    sha256: str
    body: bytes | None
    verified: bool
    method: str = "POST"
    answered: str = ""
    delay: float = 0.0
    wall: float = field(default_factory=time.time)
    monotonic: float = field(default_factory=time.monotonic)

    def header(self, name: str) -> str | None:
        """Return the first header of this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def attempt(self) -> int:
        """The attempt's number that the sender gave, 0 for none."""
        return int(self.header("claimbus-attempt") or 0)

    def line(self) -> bytes:
        """Return it as one line of JSON; a body that is no text goes into ``body_base64``."""
        found: dict[str, object] = {
            "receiver": self.receiver,
            "target": self.target,
            "webhook_id": self.header("webhook-id"),
            "attempt": self.attempt,
            "replay": self.header("claimbus-replay"),
            "event": self.event,
            "sha256": self.sha256,
            "size": self.size,
            "verified": self.verified,
            "answered": self.answered,
            "delay": self.delay,
            "wall": self.wall,
            "monotonic": self.monotonic,
            "headers": self.headers,
        }
        if self.body is not None and _is_text(self.body):
            found["body"] = self.body.decode()
        elif self.body is not None:
            found["body_base64"] = base64.b64encode(self.body).decode()
        return json.dumps(found).encode() + b"\n"


class Arrival:
    """A request while it arrives: its body is digested as it comes, and kept only while it is small."""

    def __init__(
        self, receiver: str, secrets: Sequence[str], method: str, target: str, headers: Headers
    ) -> None:
        self._receiver = receiver
        self._secrets = secrets
        self._method = method
        self._target = target
        self._headers = headers
        self._by_name = dict(headers)
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._macs = [_mac(secret, self._by_name) for secret in secrets]
        self._kept: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body."""
        self._size += len(chunk)
        self._sha256.update(chunk)
        for mac in self._macs:
            mac.update(chunk)
        if self._kept is not None:
            self._kept += chunk
            if self._size > KEPT:
                self._kept = None

    def complete(self) -> Received:
        """Return the whole request, with its signature checked."""
        body = None if self._kept is None else bytes(self._kept)
        return Received(
            receiver=self._receiver,
            method=self._method,
            target=self._target,
            headers=self._headers,
            event=_event(self._by_name, body),
            size=self._size,
            sha256=self._sha256.hexdigest(),
            body=body,
            verified=self._verified(body),
        )

    def _verified(self, body: bytes | None) -> bool:
        if body is None or not _is_text(body):
            # The library takes text only, and all at once.
            given = self._by_name.get("webhook-signature", "").split(" ")
            return any("v1," + base64.b64encode(mac.digest()).decode() in given for mac in self._macs)
        for secret in self._secrets:
            with suppress(WebhookVerificationError, ValueError):
                Webhook(secret).verify(body, self._by_name, json_parse=False)
                return True
        return False


def _mac(secret: str, headers: Mapping[str, str]) -> hmac.HMAC:
    signed = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}."
    return hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed.encode(), "sha256")


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _event(headers: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    if headers.get("content-type", "").startswith("application/cloudevents+json") and body is not None:
        return {name: str(value) for name, value in json.loads(body).items() if name != "data"}
    found = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    if "content-type" in headers:
        found["datacontenttype"] = headers["content-type"]
    return found
