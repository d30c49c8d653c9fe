"""Where the bodies of letters are: in Redis as long as their claims live, in the database as long as kept.

Both give a claim in one form: its record, then its chunks. What is read is held against the SHA-256 that the
record seals; only a body that fits counts as being there.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, Literal, NamedTuple, TypeVar

import structlog

from claimbus.database import kept
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.database.letters import DeadLetter
from claimbus.deadletters.errors import BodyGoneError
from claimbus.deadletters.together import together
from claimbus.events.event import Audience, Event
from claimstore.claim import Claim
from claimstore.errors import ClaimCorruptError, ClaimMissingError
from claimstore.store import ClaimStore

T = TypeVar("T")

Where = Literal["redis", "kept", "gone", "corrupt"]
"""``kept``: in the database only. ``corrupt``: what there is, is not what was published."""

MARGIN: Final = 3600
"""Seconds for which a claim outlives its delivery: should that die, the recorder copies the claim."""

AT_ONCE: Final = 64
"""Claims that are read at the same time; up to 1 MiB of each is in memory."""

_FAR: Final = 1 << 62
"""An expiry that never comes: what Redis does not have is missing, whatever the ticket promised."""

_log = structlog.get_logger("claimbus.deadletters.bodies")


class Found(NamedTuple):
    """Where a body is, and the audience sealed with it: None unless it is somewhere, whole."""

    where: Where
    audience: Audience | None


class Secured(NamedTuple):
    """Where a body was found, and the second until which Redis has it now; None if it was nowhere, whole."""

    where: Where
    audience: Audience | None
    expires: int | None


class Body(NamedTuple):
    """An event whose body, of ``size`` bytes, comes by ``pieces``; ``event.body`` may be empty.

    The last piece comes only once the SHA-256 of the whole fits, else ClaimCorruptError.
    """

    event: Event
    size: int
    pieces: AsyncGenerator[bytes, None]


class Bodies:
    """Finds bodies and puts them back into Redis. Everything raises UnavailableError without its servers."""

    def __init__(self, store: ClaimStore, database: Database) -> None:
        self._store = store
        self._database = database

    async def check(self, letter: DeadLetter) -> Where:
        """Read a letter's whole body and tell where it is."""
        return "gone" if letter.claim_id is None else (await self._look(letter.claim_id)).where

    async def look(self, claim_ids: Iterable[str]) -> dict[str, Found]:
        """Read the whole bodies of claims and tell where they are."""
        return await _each(claim_ids, self._look)

    async def open(self, letter: DeadLetter) -> Body:
        """Return a letter's event with its body. Raises BodyGoneError, and ClaimCorruptError."""
        claim_id, where = letter.claim_id, await self.check(letter)
        if claim_id is None or where == "gone":
            raise BodyGoneError(f"the body of letter {letter.id} is neither in Redis nor in the database")
        if where == "corrupt":
            raise ClaimCorruptError(claim_id, "is not what was published")
        stored = self._in_redis(claim_id) if where == "redis" else self._in_database(claim_id)
        claim = self._store.read_record(claim_id, await anext(stored), expires=_FAR)
        return Body(claim.event, claim.size, self._pieces(claim, stored))

    async def secure(self, needed: Mapping[str, int], expires: int) -> dict[str, Secured]:
        """See to it that Redis has these claims, whole, until the second that each is needed at least.

        One that would expire earlier lives until ``expires``. So does one that Redis does not have, or not
        whole: it is put back from the database, if it is kept there.
        """
        seen = await self._store.glance(needed)
        short = {claim_id: claim for claim_id, claim in seen.items() if claim.expires < needed[claim_id]}
        prolonged = await self._store.prolong(short, expires)
        lasting = {claim_id: claim.expires for claim_id, claim in seen.items() if claim_id not in short}
        lasting |= dict.fromkeys(prolonged, expires)
        return await _each(needed, lambda claim_id: self._secure(claim_id, lasting.get(claim_id), expires))

    async def put_back(self, claim_id: str, expires: int) -> Audience:
        """Put a claim back into Redis from the database, until ``expires``; return its audience.

        Raises BodyGoneError when it is not kept, and ClaimCorruptError.
        """
        try:
            return await self._put_back(claim_id, expires)
        except ClaimMissingError as missing:
            raise BodyGoneError(f"claim {claim_id} is neither in Redis nor in the database") from missing

    async def _look(self, claim_id: str) -> Found:
        return await _first(
            {
                "redis": lambda: self._audience(claim_id, self._in_redis(claim_id)),
                "kept": lambda: self._audience(claim_id, self._in_database(claim_id)),
            }
        )

    async def _secure(self, claim_id: str, lasting: int | None, expires: int) -> Secured:
        ways: dict[Where, Callable[[], Awaitable[Audience]]] = {}
        if lasting is not None:
            ways["redis"] = lambda: self._audience(claim_id, self._in_redis(claim_id))
        ways["kept"] = lambda: self._put_back(claim_id, expires)
        where, audience = await _first(ways)
        return Secured(where, audience, {"redis": lasting, "kept": expires}.get(where))

    async def _put_back(self, claim_id: str, expires: int) -> Audience:
        stored = self._in_database(claim_id)
        record = await anext(stored)
        claim = self._store.read_record(claim_id, record, expires=expires)
        chunks = (data async for data, _ in self._store.read_chunks(claim, stored))
        await self._store.check_in_record(claim_id, record, expires, chunks=chunks)
        return claim.event.audience

    async def _audience(self, claim_id: str, stored: AsyncIterator[bytes]) -> Audience:
        """Read a claim to its end and return its audience."""
        claim = self._store.read_record(claim_id, await anext(stored), expires=_FAR)
        async for _ in self._store.read_chunks(claim, stored):
            pass
        return claim.event.audience

    async def _pieces(self, claim: Claim, stored: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the body, its last piece only once all is proven."""
        held = claim.event.body
        async for _, piece in self._store.read_chunks(claim, stored):
            if held:
                yield held
            held = piece
        yield held

    def _in_redis(self, claim_id: str) -> AsyncIterator[bytes]:
        return self._store.stored(claim_id, expires=_FAR)

    async def _in_database(self, claim_id: str) -> AsyncIterator[bytes]:
        claim = await self._database.read(lambda sql: kept.get(sql, claim_id))
        if claim is None:
            raise ClaimMissingError(claim_id, "is not kept")
        yield claim.record
        for number in range(claim.chunks):
            try:
                yield await self._database.read(partial(kept.chunk, claim_id=claim_id, number=number))
            except NotFoundError as lost:
                raise ClaimCorruptError(claim_id, f"has lost chunk {number} of {claim.chunks}") from lost


async def _each(claim_ids: Iterable[str], work: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """Do this for each claim, `AT_ONCE` of them at a time."""
    found: dict[str, T] = {}
    waiting = iter(claim_ids)

    async def go_on() -> None:
        for claim_id in waiting:
            found[claim_id] = await work(claim_id)

    await together(go_on() for _ in range(AT_ONCE))
    return found


async def _first(ways: Mapping[Where, Callable[[], Awaitable[Audience]]]) -> Found:
    """Go these ways until one leads to a whole body."""
    where: Where = "gone"
    for place, way in ways.items():
        try:
            return Found(place, await way())
        except ClaimMissingError:
            continue
        except ClaimCorruptError as corrupt:
            _log.error("body corrupt", claim_id=corrupt.claim_id, place=place, reason=corrupt.reason)
            where = "corrupt"
    return Found(where, None)
