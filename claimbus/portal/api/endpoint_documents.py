"""What an endpoint is in requests and answers."""

from typing import Any, Final, cast

from pydantic import Field

from claimbus.database.endpoint import DEFAULTS, Kind, Mode, Settings, State
from claimbus.database.endpoint_limits import LONGEST_URL, RANGES
from claimbus.portal.api.fields import (
    Document,
    Flag,
    Id,
    Moment,
    Number,
    ParticipantId,
    Pattern,
    Reason,
    Request,
    Text,
    Whole,
    Word,
)

_USUAL: Final = dict(DEFAULTS)
_MOST_PATTERNS: Final = 1000


class EndpointDocument(Document):
    """A place where a participant receives, without its secrets."""

    id: Id
    participant_id: ParticipantId
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
    subscriptions: list[str]
    revision: int
    created_at: Moment
    verified_at: Moment | None
    removed_at: Moment | None
    allowed_rate: float | None


class VerificationDocument(Document):
    """How the receiver answered when it was asked whether it wants events, in plain words: `meaning`."""

    way: str
    passed: bool
    meaning: str
    allowed_rate: float | None


class OutcomeDocument(Document):
    """An endpoint as it is now. `late`: what of the change is still to come."""

    endpoint: EndpointDocument
    verification: VerificationDocument | None
    late: str | None


class WithSecret(OutcomeDocument):
    """The same, with the new signing secret (Standard Webhooks), which is shown this once."""

    secret: str | None


class HourDocument(Document):
    """What was delivered in an hour, and what failed."""

    begins: Moment
    delivered: int
    failed: int


class ReceiverCertificateDocument(Document):
    """The certificate that a webhook's receiver showed at `seen_at`, by its SHA-256 fingerprint."""

    fingerprint: str
    subject: str
    issuer: str
    begins_at: Moment
    ends_at: Moment
    seen_at: Moment


class HealthDocument(Document):
    """How an endpoint is. `backlog` is null while RabbitMQ is away, `hold_known` false while Redis is."""

    endpoint_id: Id
    hours: list[HourDocument]
    last_delivery: Moment | None
    last_failure: Moment | None
    hold_known: bool
    held_since: Moment | None
    held_why: str
    next_probe: Moment | None
    backlog: int | None
    certificate_ends: Moment | None
    receiver_certificate: ReceiverCertificateDocument | None


class TestSent(Document):
    """The message ID of a test event, for finding its delivery."""

    message_id: str


def _number(name: str) -> Any:  # noqa: ANN401 - a field of pydantic's
    """Return the field of a setting that is a number: its default and its limits are the database's own."""
    least, most = RANGES[name]
    return Field(default=_USUAL[name], ge=least, le=most)


class Changes(Request):
    """The settings to change; those not named stay."""

    name: Word = Field(default="", examples=["outages"])
    url: Word | None = Field(
        default=DEFAULTS["url"], max_length=LONGEST_URL, examples=["https://pgae.example/events"]
    )
    mode: Mode = DEFAULTS["mode"]
    ordered: Flag = DEFAULTS["ordered"]
    latest_only: Flag = DEFAULTS["latest_only"]
    concurrency: Whole = _number("concurrency")
    rate_limit: Number | None = _number("rate_limit")
    timeout_s: Number = _number("timeout_s")
    age_limit_s: Whole = _number("age_limit_s")
    schema_version: Whole | None = _number("schema_version")
    ca_pem: Text | None = DEFAULTS["ca_pem"]
    reason: Reason = ""

    def settings(self) -> Settings:
        """Return those that were named."""
        named: dict[str, Any] = self.model_dump(
            include=self.model_fields_set & Settings.__annotations__.keys()
        )
        return cast("Settings", named)


class NewEndpoint(Changes):
    """An endpoint to be added. A webhook needs a `url`; a stream is connected to."""

    participant_id: ParticipantId
    kind: Kind
    name: Word = Field(examples=["outages"])
    subscriptions: list[Pattern] = Field(default=[], max_length=_MOST_PATTERNS)


class Subscribing(Request):
    """Event types to subscribe to, and to give up."""

    add: list[Pattern] = Field(default=[], max_length=_MOST_PATTERNS)
    give_up: list[Pattern] = Field(default=[], max_length=_MOST_PATTERNS)
    reason: Reason = ""
