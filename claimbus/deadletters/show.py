"""Looking at a letter: what it was, how its attempts ended, its body. Every look is noted in the audit.

An operator sees every letter. A participant's people see those of their own participants, named in full, and
learn of no others; of these they see bodies that are for all. Nobody else sees anything.
"""

from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from claimbus.database import attempts, kept, letters
from claimbus.database.access import Principal, Role
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.database.letters import DeadLetter
from claimbus.database.schema import moment_of
from claimbus.deadletters.bodies import Bodies, Body
from claimbus.deadletters.errors import BodyGoneError, NotPermittedError
from claimbus.deadletters.legible import TEXT_BYTES, Legible, harmless, legible
from claimbus.events.errors import ClaimbusError, UnavailableError
from claimbus.events.event import ALL, Event, format_time
from claimstore.errors import ClaimCorruptError
from claimstore.store import ClaimStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_ATTEMPTS: Final = 1000
"""So many of the newest attempts are shown; a delivery has 7 at most, each replay of it as many more."""


CONFIDENTIAL: Final = "the body is confidential: only operators may see it"
NOT_OPEN: Final = "events of this type are not open to you any more"
AWAY: Final = "the body cannot be read at the moment; nothing is lost"
LOST: Final = "the body is gone, or is not what was published"


class Preview(NamedTuple):
    """The beginning of a body of ``size`` bytes; ``shown`` is None when ``withheld`` says why."""

    size: int | None
    shown: Legible | None
    withheld: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A letter, the attempts at its delivery, the oldest first, and its event.

    ``attributes`` are CloudEvents', empty when the claim cannot be read. The body is there until
    ``kept_until`` at least; None when it is nowhere.
    """

    letter: DeadLetter
    attempts: tuple[Attempt, ...]
    attributes: dict[str, str]
    body: Preview
    kept_until: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        letter = {name: _plain(value) for name, value in asdict(self.letter).items() if name != "raw"}
        shown = self.body.shown
        return {
            "letter": letter,
            "attempts": [_attempt(one) for one in self.attempts],
            "attributes": self.attributes,
            "body": {
                "size": self.body.size,
                "withheld": self.body.withheld,
                **(shown._asdict() if shown else {}),
            },
            "kept_until": _plain(self.kept_until),
        }


async def look(
    database: Database,
    store: ClaimStore,
    letter_id: str,
    who: Principal,
    *,
    reason: str = "",
    letters_kept: timedelta,
) -> Shown:
    """Show a letter, and the beginning of its body. A confidential one is withheld from all but operators.

    ``letter_id``: for an operator a beginning of it will do. Raises NotFoundError, for all but operators
    NotPermittedError in its place, and DatabaseUnavailableError; without Redis the body is withheld.
    """
    act = Act(who.name, reason)
    letter, tries, is_kept = await database.read(lambda sql: _read(sql, letter_id, who))
    attributes, body = await _event(Bodies(store, database), letter, who)
    until = [letter.died_at + letters_kept] if is_kept else []
    with suppress(UnavailableError):
        claims = await store.glance([letter.claim_id] if letter.claim_id else [])
        until += [datetime.fromtimestamp(claim.expires, UTC) for claim in claims.values()]
    await database.run(lambda sql: _note(sql, letter, act, body))
    return Shown(
        letter=letter,
        attempts=tries,
        attributes=attributes,
        body=body,
        kept_until=max(until, default=None),
    )


async def body(
    database: Database, store: ClaimStore, letter_id: str, who: Principal, *, reason: str = ""
) -> Body:
    """Return the whole body of a letter's event, to be streamed.

    Raises as `look` does, NotPermittedError for a confidential one too unless an operator asks,
    BodyGoneError, ClaimCorruptError, and UnavailableError.
    """
    letter = await database.read(lambda sql: _permitted(sql, letter_id, who))
    found = await Bodies(store, database).open(letter)
    if why := _withheld(found.event, who):
        raise NotPermittedError(why)
    act = Act(who.name, reason)
    await database.run(lambda sql: letters.looked(sql, letter, act, "body"))
    return found


def answer(attempt: Attempt) -> str:
    """Return the beginning of what the receiver answered, made harmless for a terminal."""
    return harmless((attempt.answer_head or b"").decode(errors="replace"))


def _permitted(sql: "Connection", letter_id: str, who: Principal) -> DeadLetter:
    """Return a letter that is open to somebody. Raises NotFoundError to operators, else NotPermittedError."""
    if who.is_one_of(Role.OPERATOR):
        return letters.get(sql, letters.resolve(sql, letter_id))
    with suppress(NotFoundError):
        letter = letters.get(sql, letter_id)
        if letter.participant_id is not None and who.acts_for(letter.participant_id):
            return letter
    raise NotPermittedError("this letter is not open to you")


def _withheld(event: Event, who: Principal) -> str:
    """Return why the body of an event is not for somebody to whom its letter is open; empty if it is."""
    if not who.may_see(event.type, event.audience):
        return NOT_OPEN
    return CONFIDENTIAL if event.audience != ALL and not who.is_one_of(Role.OPERATOR) else ""


def _read(sql: "Connection", letter_id: str, who: Principal) -> tuple[DeadLetter, tuple[Attempt, ...], bool]:
    """Return a letter, the attempts at its delivery, and whether its body is kept."""
    letter = _permitted(sql, letter_id, who)
    tries: tuple[Attempt, ...] = ()
    if letter.endpoint_id is not None and letter.message_id is not None:
        wanted = attempts.Filter(endpoint_ids=[letter.endpoint_id], message_id=letter.message_id)
        tries = attempts.find(sql, wanted, limit=MAX_ATTEMPTS).rows[::-1]
    is_kept = letter.claim_id is not None and bool(kept.has(sql, [letter.claim_id]))
    return letter, tries, is_kept


def _note(sql: "Connection", letter: DeadLetter, act: Act, body: Preview) -> None:
    letters.looked(sql, letter, act, "letter")
    if body.shown is not None:
        letters.looked(sql, letter, act, "body")


async def _event(bodies: Bodies, letter: DeadLetter, who: Principal) -> tuple[dict[str, str], Preview]:
    """Return the attributes of a letter's event, and the beginning of its body."""
    if letter.raw is not None:
        size = len(letter.raw)
        if not who.is_one_of(Role.OPERATOR):  # nobody knows for whom that was
            return {}, Preview(size, None, CONFIDENTIAL)
        return {}, Preview(size, legible(letter.raw[:TEXT_BYTES], size, "application/octet-stream"))
    try:
        event, size, _ = found = await bodies.open(letter)
        if why := _withheld(event, who):
            return {} if why == NOT_OPEN else event.attributes(), Preview(size, None, why)
        start = await _beginning(found)
    except (BodyGoneError, ClaimCorruptError, UnavailableError) as wrong:
        return {}, Preview(None, None, _unread(wrong, who))
    return event.attributes(), Preview(size, legible(start, size, event.datacontenttype))


def _unread(wrong: ClaimbusError, who: Principal) -> str:
    """Return why a body cannot be read; where it should be is for operators alone."""
    if who.is_one_of(Role.OPERATOR):
        return str(wrong)
    return AWAY if isinstance(wrong, UnavailableError) else LOST


async def _beginning(found: Body) -> bytes:
    start = bytearray()
    async with aclosing(found.pieces) as pieces:
        async for piece in pieces:
            start += piece
            if len(start) >= TEXT_BYTES:
                break
    return bytes(start[:TEXT_BYTES])


def _attempt(one: Attempt) -> dict[str, Any]:
    row = one._asdict()
    del row["id"], row["started_ms"], row["answer_head"]
    return {"started_at": format_time(moment_of(one.started_ms)), **row, "answer": answer(one)}


def _plain(value: object) -> object:
    return format_time(value) if isinstance(value, datetime) else value
