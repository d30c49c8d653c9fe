"""Event to routing keys; subscription and participant to bindings.

The routing key is the event type and one participant ID, or ``all``. Further participants go in the ``BCC``
header, which RabbitMQ strips, so no recipient learns of another. A binding narrows a subscription to its
participant: RabbitMQ then does the fan-out and the first of the three entitlement checks.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience, is_participant_id

DOMAINS: Final = ("oms", "market", "system")
"""The topic exchanges, one a domain, so RabbitMQ's write permissions can be given by ISO system."""

MAX_PATTERN_LENGTH: Final = 200
"""With a participant ID it still fits AMQP's 255 bytes of a binding key."""

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


class Route(NamedTuple):
    """Where a ticket is published: exchange, routing key, and the further routing keys for ``BCC``."""

    exchange: str
    key: str
    bcc: tuple[str, ...]


class Binding(NamedTuple):
    """A topic exchange and the binding key of an endpoint's queue to it."""

    exchange: str
    key: str


def route(event_type: str, audience: Audience) -> Route:
    """Return where a ticket of this type for this audience goes; participants in sorted order."""
    exchange = event_type.partition(".")[0]
    if audience == ALL:
        return Route(exchange, f"{event_type}.{ALL}", ())
    first, *rest = sorted(audience)
    return Route(exchange, f"{event_type}.{first}", tuple(f"{event_type}.{name}" for name in rest))


def check_pattern(pattern: str) -> None:
    """Raise InvalidInputError unless this can match an event type: words, ``*`` and ``#``, three at most."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise InvalidInputError("subscription", f"is longer than {MAX_PATTERN_LENGTH} characters")
    words = pattern.split(".")
    for word in words:
        if word not in ("*", "#") and _WORD.fullmatch(word) is None:
            raise InvalidInputError("subscription", f"{pattern!r}: {word!r} is no word, '*' or '#'")
    if ("#", "#") in pairwise(words):
        raise InvalidInputError("subscription", f"{pattern!r}: '#.#' says no more than '#'")
    named = [word for word in words if word != "#"]
    if len(named) > 3 or (len(named) < 3 and named == words):
        raise InvalidInputError("subscription", f"{pattern!r} can match no event type of three words")
    domain = named[0] if len(named) == 3 else words[0]
    if domain not in ("*", "#", *DOMAINS):
        raise InvalidInputError("subscription", f"{pattern!r}: the domains are {', '.join(DOMAINS)}")


def bindings(pattern: str, participant: str) -> frozenset[Binding]:
    """Return the bindings that give ``participant`` what ``pattern`` matches and it may see.

    Raises InvalidInputError for a malformed pattern or participant ID: a wildcard in its place would show it
    what is for others.
    """
    check_pattern(pattern)
    if not is_participant_id(participant):
        raise InvalidInputError("participant", f"{participant!r} is no participant ID")
    first = pattern.partition(".")[0]
    exchanges = (first,) if first in DOMAINS else DOMAINS
    return frozenset(
        Binding(exchange, f"{pattern}.{to}") for exchange in exchanges for to in (participant, ALL)
    )


def matches(pattern: str, key: str) -> bool:
    """Tell whether a topic pattern matches a key by RabbitMQ's rules (``*`` one word, ``#`` none or more)."""
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    head, *tail = pattern
    if head == "#":
        return any(_matches(tail, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and _matches(tail, words[1:])
