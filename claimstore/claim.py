"""A claim: an event in the claim store, and what is known of it."""

import secrets
from dataclasses import dataclass
from typing import Literal, NamedTuple

from claimbus.events.event import Event

Encoding = Literal["identity", "zstd"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A redeemed claim, its SHA-256 checked.

    ``size`` and ``sha256`` are those of the body as it was published. When ``chunks`` is not 0 the body lies
    in that many chunks: ``event.body`` is empty, and `ClaimStore.body` streams it. ``expires`` is in
    whole seconds since the epoch, as the ticket told it. ``key`` names the key that it lies encrypted with.
    """

    id: str
    event: Event
    size: int
    sha256: bytes
    encoding: Encoding
    chunks: int
    expires: int
    key: str | None = None


class CheckedIn(NamedTuple):
    """What a ticket needs of a claim; ``expires`` in whole seconds since the epoch."""

    claim_id: str
    expires: int


class ClaimStat(NamedTuple):
    """What is known of a claim without reading its body.

    ``size`` is the body's, ``stored`` what the record takes in Redis (without chunks), both in bytes.
    """

    size: int
    stored: int
    encoding: Encoding
    chunks: int
    expires: int


def new_claim_id() -> str:
    """Return a random claim ID of 144 bits, URL-safe, 24 characters."""
    return secrets.token_urlsafe(18)
