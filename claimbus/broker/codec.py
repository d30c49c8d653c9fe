"""Tickets, letters and announcements, as AMQP messages and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args

from claimbus.broker import frames, topology
from claimbus.broker.frames import Message, Properties
from claimbus.events.errors import InvalidTicketError
from claimbus.events.routing import Route
from claimbus.events.ticket import CONTENT_TYPE, Ticket, decode

ENDPOINT_GONE: Final = "endpoint-gone"
"""The cause of a letter whose endpoint has no queue any more."""

MAX_DETAIL: Final = 2000
"""Characters of a letter's detail that travel: all headers must fit one frame."""

TICKETS: Final = 2048
"""Tickets that are kept for the queues that are to bring them still: half a kilobyte each."""

What = Literal["changed", "held", "released", "failing", "workers"]


class Announcement(NamedTuple):
    """What every worker should know at once: of an endpoint, or that one of the ``workers`` comes or goes."""

    endpoint: str
    what: What


class Death(NamedTuple):
    """Which queue RabbitMQ dead-lettered a message from, its reason (``expired``, …), and how many times."""

    queue: str
    reason: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A delivery that was given up, as it lies in ``deadletters``.

    ``cause`` is the worker's word; for RabbitMQ's own letters it is ``endpoint-gone``, ``expired``,
    ``delivery-limit`` or ``rejected``. ``attempts`` is how many were made, ``status`` the HTTP status of the
    last one, ``died`` the second at which a worker gave it up. ``ticket`` is None when the message is none:
    then ``body`` is its bytes and ``detail`` says what is wrong with it.
    """

    body: bytes
    ticket: Ticket | None
    endpoint: str | None
    cause: str
    detail: str
    attempts: int
    status: int | None = None
    died: int | None = None


def ticket_message(ticket: Ticket, route: Route) -> Message:
    """Return the message that publishes a new ticket."""
    headers = ticket.headers()
    if route.bcc:
        headers["BCC"] = list(route.bcc)
    return _ticket(route.exchange, route.key, ticket, headers)


def retry_message(ticket: Ticket, rung: topology.Rung) -> Message:
    """Return the message that brings a delivery back to its endpoint after the rung's delay."""
    return _ticket(rung.queue, _endpoint(ticket), ticket, ticket.headers())


def redelivery_message(ticket: Ticket) -> Message:
    """Return the message that brings a replay, recovery or test event to its endpoint now."""
    return _ticket(topology.REDELIVER, _endpoint(ticket), ticket, ticket.headers())


def letter_message(letter: Letter) -> Message:
    """Return the message that gives a delivery up."""
    headers: dict[str, object] = {
        "cause": letter.cause,
        "detail": letter.detail[:MAX_DETAIL],
        "attempts": letter.attempts,
    }
    if letter.endpoint is not None:
        headers["endpoint"] = letter.endpoint
    if letter.status is not None:
        headers["status"] = letter.status
    if letter.died is not None:
        headers["died"] = letter.died
    if letter.ticket is None:
        encoded = frames.properties(content_type="application/octet-stream", headers=headers)
        return Message(topology.DEADLETTERS, "", encoded, letter.body)
    return _ticket(topology.DEADLETTERS, "", letter.ticket, letter.ticket.headers() | headers)


def announcement_message(announcement: Announcement) -> Message:
    """Return the message for ``control``; when no worker listens it goes nowhere, and rightly."""
    encoded = frames.properties(content_type="application/json", headers={})
    body = json.dumps(announcement._asdict()).encode()
    return Message(topology.CONTROL, "", encoded, body, mandatory=False)


def read_announcement(body: bytes) -> Announcement | None:
    """Read what came by ``control``; None when it is nothing that this version understands."""
    try:
        found = Announcement(**json.loads(body))
    except (TypeError, ValueError):
        return None
    return found if isinstance(found.endpoint, str) and found.what in get_args(What) else None


def read_ticket(properties: Properties, body: bytes) -> Ticket:
    """Read a ticket, without what RabbitMQ put into its headers. Raises InvalidTicketError."""
    return decode(
        body,
        message_id=properties.message_id,
        type_=properties.type,
        timestamp=properties.timestamp,
        headers=properties.headers,
    )


@lru_cache(maxsize=TICKETS)
def read_ticket_once(header: bytes, body: bytes) -> Ticket:
    """Read a ticket from the payload of its content header, and its body. Raises InvalidTicketError.

    RabbitMQ gives the same bytes to every queue that an event is routed to.
    """
    return read_ticket(frames.read_properties(header), body)


def read_letter(properties: Properties, body: bytes, *, exchange: str, routing_key: str) -> Letter:
    """Read what lies in ``deadletters``, whoever put it there; nothing is refused.

    ``exchange`` and ``routing_key`` are those of the delivery. What ``redeliver`` could not route comes by
    its alternate exchange, and keeps both: its routing key is the endpoint that is gone.
    """
    headers = properties.headers
    death = broker_death(headers)
    endpoint, cause, detail = headers.get("endpoint"), headers.get("cause"), headers.get("detail")
    if cause is None and exchange == topology.REDELIVER:
        endpoint, cause, detail = routing_key, ENDPOINT_GONE, "no queue takes what is redelivered to it"
    elif cause is None and death is not None:
        endpoint = topology.endpoint_of(death.queue) or endpoint
        cause, detail = death.reason.replace("_", "-"), f"RabbitMQ took it out of {death.queue}"
    ticket: Ticket | None = None
    try:
        ticket = read_ticket(properties, body)
    except InvalidTicketError as wrong:
        detail = detail or f"no ticket: {wrong}"
    attempts, status = headers.get("attempts", headers.get("attempt")), headers.get("status")
    died = headers.get("died")
    return Letter(
        body=body,
        ticket=ticket,
        endpoint=endpoint if isinstance(endpoint, str) else None,
        cause=str(cause or "unknown"),
        detail=str(detail or ""),
        attempts=attempts if isinstance(attempts, int) else 0,
        status=status if isinstance(status, int) else None,
        died=died if isinstance(died, int) else None,
    )


def broker_death(headers: Mapping[str, Any]) -> Death | None:
    """Return the last dead-lettering by RabbitMQ; None when there was none.

    Only the first entry of ``x-death`` is believed: it is the newest, and RabbitMQ's own.
    """
    match headers.get("x-death"):
        case [{"queue": str(queue), "reason": str(reason), "count": int(times)}, *_]:
            return Death(queue, reason, times)
    return None


def _ticket(exchange: str, key: str, ticket: Ticket, headers: Mapping[str, object]) -> Message:
    encoded = frames.properties(
        content_type=CONTENT_TYPE,
        message_id=ticket.message_id,
        type_=ticket.type,
        timestamp=ticket.timestamp,
        headers=headers,
    )
    return Message(exchange, key, encoded, ticket.body(), ticket.message_id)


def _endpoint(ticket: Ticket) -> str:
    if ticket.endpoint is None:
        raise InvalidTicketError("endpoint", "is missing; a redelivery goes to one endpoint")
    return ticket.endpoint
