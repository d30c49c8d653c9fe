"""Whether an endpoint's receiver wants our events: asked before anything else is sent there.

First by the handshake of CloudEvents' *HTTP 1.1 Web Hooks for Event Delivery*, section 4: a receiver that
answers it names us, and may bound the rate. One that does not know the handshake is sent a challenge, a test
event that is signed like every event, and agrees by a 2xx status. Both go the way of all deliveries.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

from claimbus.database.endpoint import Endpoint
from claimbus.database.receiver_certificates import Certificate
from claimbus.events.notices import endpoint_event
from consumers.addresses import AddressGuard, UnresolvedHostError
from consumers.answer import Answer, Failure, one_line
from consumers.verdict import Verdict, judge
from consumers.webhook import Webhook, check_url

Way = Literal["handshake", "challenge"]

REQUEST_ORIGIN: Final = "webhook-request-origin"
REQUEST_RATE: Final = "webhook-request-rate"
ALLOWED_ORIGIN: Final = "webhook-allowed-origin"
ALLOWED_RATE: Final = "webhook-allowed-rate"
"""Rates are in requests a minute."""

_POSITIVE: Final = re.compile("[1-9][0-9]{0,8}")

FAILURES: Final[dict[Failure, str]] = {
    "refused-address": "webhooks may not reach that network or port"
    " (CLAIMBUS_WEBHOOK_NETWORKS, CLAIMBUS_WEBHOOK_PORTS)",
    "dns": "the host has no address; is its name spelled right?",
    "connect": "nobody accepts the connection; is the receiver running, and does its firewall let us in?",
    "tls": "there was no TLS handshake; is its certificate valid, for this name, with its whole chain?"
    " Does it ask for a client certificate that it does not accept?",
    "configuration": "our own certificates cannot be used (CLAIMBUS_WEBHOOK_*, or the endpoint's --ca-file)",
    "busy": "no connection became free in time",
    "timeout": "it accepted the connection, but did not answer in time",
    "reset": "it broke the connection off while we sent",
    "protocol": "what answers there does not speak HTTP",
    "closed": "we were stopped",
}
"""What each failure means for whoever keeps the receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a receiver ``passed``, and what it answered last, in plain words: ``meaning``.

    ``allowed_rate``: the most deliveries a second that it agreed to; None: it named no limit.
    ``certificate``: what it showed, trusted or not; None: none.
    """

    way: Way
    passed: bool
    answer: Answer
    meaning: str
    allowed_rate: float | None = None
    certificate: Certificate | None = None


async def verify(webhook: Webhook, endpoint: Endpoint, *, source: str) -> Verification:
    """Ask an endpoint's receiver; ``source`` is the test event's.

    Never raises for what the other side does.
    """
    found, certificate = await asyncio.gather(_asked(webhook, endpoint, source), webhook.certificate())
    if certificate is not None and found.answer.failure == "tls" and certificate.ends_at <= datetime.now(UTC):
        ended = f"its certificate ended on {certificate.ends_at:%Y-%m-%d %H:%M} UTC: renew it"
        return replace(found, certificate=certificate, meaning=ended)
    return replace(found, certificate=certificate)


async def _asked(webhook: Webhook, endpoint: Endpoint, source: str) -> Verification:
    headers = {REQUEST_ORIGIN: webhook.origin}
    if endpoint.rate_limit is not None:
        headers[REQUEST_RATE] = str(max(1, int(endpoint.rate_limit * 60)))
    answer, said = await webhook.ask(headers, hear=(ALLOWED_ORIGIN, ALLOWED_RATE))
    if answer.failure is not None:
        return Verification(way="handshake", passed=False, answer=answer, meaning=meaning(answer))
    if judge(answer).verdict is Verdict.DELIVERED and ALLOWED_ORIGIN in said:
        return _permission(webhook.origin, answer, said)
    # A 2xx without the header is what many servers answer to every OPTIONS, without asking anybody.
    challenge = endpoint_event(
        "test", endpoint.id, participant=endpoint.participant_id, source=source, at=datetime.now(UTC)
    )
    answer = await webhook.post(challenge, message_id=challenge.identity, attempt=1)
    passed = judge(answer).verdict is Verdict.DELIVERED
    return Verification(way="challenge", passed=passed, answer=answer, meaning=meaning(answer))


async def check_target(
    url: str, guard: AddressGuard, *, allow_http: bool = False, within: float = 5.0
) -> None:
    """Raise InvalidInputError for a URL that no webhook may post to, before anything is kept of it.

    A name that has no address now, or not ``within`` so many seconds, is let through: it may have one later.
    """
    target = check_url(url, allow_http=allow_http)
    with suppress(UnresolvedHostError, TimeoutError):
        async with asyncio.timeout(within):
            await guard.addresses(target.host_str or "", target.port_or_known_default or 0)


def meaning(answer: Answer) -> str:
    """Say in plain words how a receiver answered an event."""
    if answer.failure is not None:
        return FAILURES[answer.failure]
    match answer.status or 0:
        case status if 200 <= status < 300:
            return "it takes events"
        case status if 300 <= status < 400:
            return "it points elsewhere; redirects are never followed: give the URL that it points to"
        case 401 | 403:
            return "it does not accept us; does it check the signature with this endpoint's secret?"
        case 404 | 405:
            return "there is no webhook at this path; is the URL right?"
        case 410:
            return "it says that it is gone; in earnest this would disable the endpoint"
        case status if status >= 500 or status in (408, 425, 429):
            return "it cannot take events at the moment; in earnest they would be tried again"
        case _:
            return "it refuses the event; after three attempts such an event becomes a dead letter"


def _permission(origin: str, answer: Answer, said: Mapping[str, str]) -> Verification:
    allowed, rate = said[ALLOWED_ORIGIN].strip(), said.get(ALLOWED_RATE, "*").strip()
    refused = partial(Verification, way="handshake", passed=False, answer=answer)
    if allowed != "*" and allowed.lower() != origin.lower():
        return refused(
            meaning=f"it takes events from {one_line(allowed)!r:.80}, and we are {origin!r}"
            " (CLAIMBUS_WEBHOOK_ORIGIN)"
        )
    if rate != "*" and not _POSITIVE.fullmatch(rate):
        return refused(meaning=f"it allows a rate of {one_line(rate)!r:.80}, neither a number above 0 nor *")
    told, limit = meaning(answer), None
    if rate != "*":
        told, limit = f"{told}, at most {int(rate):,} a minute", int(rate) / 60
    return Verification(way="handshake", passed=True, answer=answer, meaning=told, allowed_rate=limit)
