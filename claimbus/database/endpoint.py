"""An endpoint as a value, and what its keeper may choose."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypedDict

Kind = Literal["webhook", "stream"]
Mode = Literal["body", "claim"]
State = Literal["pending", "active", "paused", "disabled"]
"""A webhook is ``pending`` until whoever answers at its URL has agreed to receive. In no state but ``active``
is anything delivered; in every one the queue keeps what comes."""


class Settings(TypedDict, total=False):
    """The settings of an endpoint that can be changed later.

    ``mode`` says whether the body is sent or only its claim; ``rate_limit`` is in deliveries a second;
    ``age_limit_s`` is how old a delivery may become before it is given up; ``schema_version`` is the version
    of bodies wanted (None: the newest); ``ca_pem`` are further certificates to trust for the URL.
    """

    name: str
    url: str | None
    mode: Mode
    ordered: bool
    latest_only: bool
    concurrency: int
    rate_limit: float | None
    timeout_s: float
    age_limit_s: int
    schema_version: int | None
    ca_pem: str | None


DEFAULTS: Final[Settings] = {
    "url": None,
    "mode": "body",
    "ordered": False,
    "latest_only": False,
    "concurrency": 8,
    "rate_limit": None,
    "timeout_s": 15.0,
    "age_limit_s": 72 * 3600,
    "schema_version": None,
    "ca_pem": None,
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret of the form of Standard Webhooks, ``whsec_`` and Base64; never shown in a repr."""

    value: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A place of a participant that receives. Its settings are described in `Settings`.

    ``generation`` names its queue and grows when the queue must be another one; ``revision`` grows with every
    change. ``secrets`` are newest first, subscriptions sorted. ``verified_at`` and ``allowed_rate``, the most
    deliveries a second that its receiver allows, are a verification's, and end with the URL.
    """

    id: str
    participant_id: str
    organisation_id: str
    name: str
    kind: Kind
    url: str | None
    mode: Mode
    ordered: bool
    latest_only: bool
    concurrency: int
    rate_limit: float | None
    timeout_s: float
    age_limit_s: int
    schema_version: int | None
    ca_pem: str | None
    state: State
    state_reason: str
    generation: int
    secrets: tuple[Secret, ...]
    subscriptions: tuple[str, ...]
    revision: int
    created_at: datetime
    verified_at: datetime | None
    removed_at: datetime | None
    allowed_rate: float | None

    @property
    def verified(self) -> bool:
        """Whether it may become active: a stream is connected to, so it needs no verification."""
        return self.kind == "stream" or self.verified_at is not None

    @property
    def pace(self) -> float | None:
        """The most deliveries a second, as chosen and as allowed; None: no limit."""
        return min((rate for rate in (self.rate_limit, self.allowed_rate) if rate is not None), default=None)

    def signing_secrets(self, at: datetime) -> tuple[str, ...]:
        """Return the values to sign with at a moment, the newest first."""
        return tuple(one.value for one in self.secrets if one.expires_at is None or at < one.expires_at)
