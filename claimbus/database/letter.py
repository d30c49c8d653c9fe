"""A dead letter, and which of them to look at."""

import base64
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, String, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from claimbus.database.schema import letters
from claimbus.events.errors import InvalidInputError
from claimbus.events.routing import check_pattern

State = Literal["dead", "replaying", "delivered", "dead again", "discarded"]

_WAITING: Final[tuple[State, ...]] = ("dead",)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One delivery, given up once.

    ``died_at`` is when it was recorded, ``state_at`` when its state changed last and ``state_reason`` why.
    ``status``, ``detail`` and ``attempts`` tell of its last attempt; ``fingerprint`` is its group's ID. What
    the ticket said (``timestamp`` and ``expires`` in seconds since the epoch) is None where there was none;
    then ``raw`` has the message's bytes. ``replay`` is the job or recovery in which it died, ``replay_id``
    the last job that took it, ``next_id`` the letter that it became by dying again.
    """

    id: str
    state: State = "dead"
    state_at: datetime
    state_reason: str = ""
    died_at: datetime
    cause: str
    fingerprint: str
    status: int | None = None
    detail: str
    attempts: int
    endpoint_id: str | None = None
    participant_id: str | None = None
    message_id: str | None = None
    type: str | None = None
    claim_id: str | None = None
    timestamp: int | None = None
    expires: int | None = None
    partitionkey: str | None = None
    sequence: int | None = None
    traceparent: str | None = None
    replay: str | None = None
    replay_id: str | None = None
    next_id: str | None = None
    raw: bytes | None = None


NAMES: Final = tuple(field.name for field in fields(DeadLetter))
"""The columns of a letter, without the number that its row gets."""


def letter_id(endpoint_id: str | None, identity: str | bytes, age_begins: int, replay: str | None) -> str:
    """Return the ID of a letter, the same when the same delivery comes from the queue a second time.

    ``identity`` is the message's ID, or its bytes when it is no ticket; ``age_begins`` is the ticket's.
    """
    name = identity if isinstance(identity, str) else [identity.hex()]
    facts = json.dumps([endpoint_id, name, age_begins, replay])
    return "dl_" + base64.b32encode(hashlib.sha256(facts.encode()).digest())[:20].decode().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters to look at: those that pass every filter given; ``states`` is None for any.

    ``group`` is a fingerprint's ID, ``type`` a pattern (``oms.#``). ``since`` and ``until``, which is
    exclusive, bound ``died_at``.
    """

    ids: Collection[str] | None = None
    group: str | None = None
    cause: str | None = None
    endpoint_id: str | None = None
    participant_ids: Collection[str] | None = None
    type: str | None = None
    states: Collection[State] | None = _WAITING
    since: datetime | None = None
    until: datetime | None = None
    message_id: str | None = None
    replay_id: str | None = None

    def conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        """Return them for SQL. Raises InvalidInputError for a malformed ``type`` and a naive time."""
        column = letters.c
        equal = {
            column.fingerprint: self.group,
            column.cause: self.cause,
            column.endpoint_id: self.endpoint_id,
            column.message_id: self.message_id,
            column.replay_id: self.replay_id,
        }
        found: list[ColumnElement[bool]] = [one == value for one, value in equal.items() if value is not None]
        if self.ids is not None:
            found.append(_among(connection, column.id, self.ids))
        if self.participant_ids is not None:
            found.append(_among(connection, column.participant_id, self.participant_ids))
        if self.states is not None:
            found.append(column.state.in_(self.states))
        if self.type is not None:
            found.append(_of_type(self.type))
        if self.since is not None:
            found.append(column.died_at >= self.since)
        if self.until is not None:
            found.append(column.died_at < self.until)
        return found


EVERYTHING: Final = Filter(states=None)


def _among(
    connection: Connection, column: ColumnElement[str], values: Collection[str]
) -> ColumnElement[bool]:
    """Return the condition for any number of values; a plain IN takes but some ten thousand."""
    if len(values) <= 1000:
        return column.in_(values)
    if connection.dialect.name == "postgresql":
        return column == func.any(literal(list(values), ARRAY(String)))
    return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))


def _of_type(pattern: str) -> ColumnElement[bool]:
    """Return the condition that an event type, three words always, matches a pattern."""
    try:
        check_pattern(pattern)
    except InvalidInputError as wrong:
        raise InvalidInputError("type", wrong.reason) from wrong
    of_three = [".".join(words) for words in _spelled_out(pattern.split(".")) if len(words) == 3]
    return or_(*map(letters.c.type.like, of_three))


def _spelled_out(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield what a pattern stands for, each ``*`` as LIKE's ``%``, each ``#`` as none to three of them."""
    if not words:
        yield ()
        return
    head, *rest = words
    for tail in _spelled_out(rest):
        if head == "#":
            yield from (("%",) * count + tail for count in range(4))
        else:
            yield ("%" if head == "*" else head, *tail)
