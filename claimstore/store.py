"""The claim store: bodies are checked in, redeemed by claim ID, and expire by themselves."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from claimbus.events.event import Event
from claimbus.events.sealing import NO_KEYS, Cipher, Keys
from claimstore.cache import Cache
from claimstore.checks import Finding, examine, insist
from claimstore.chunks import (
    CHUNK,
    cut,
    proven_chunks,
    put_back_chunks,
    read_chunks,
    read_part,
    stored_chunks,
    write_chunks,
)
from claimstore.claim import CheckedIn, Claim, ClaimStat, new_claim_id
from claimstore.connection import Connection
from claimstore.encryption import encrypting
from claimstore.errors import (
    BodyTooLargeError,
    ClaimExpiredError,
    ClaimMissingError,
    StoreUnavailableError,
)
from claimstore.glance import Glance, glances, prolong
from claimstore.record import HEAD_LIMIT, Head, chunked_record, inline_record, read_head, read_record

INLINE: Final = 1 << 20
"""Bytes; a longer body lies in chunks. One that is streamed does so from one whole chunk on."""

LIFE: Final = timedelta(days=7)
MAX_BODY: Final = 64 << 20
CACHE: Final = 64 << 20


class ClaimStore:
    """Events with their bodies in Redis, under random IDs, for as long as a claim lives."""

    def __init__(
        self,
        connection: Connection,
        *,
        life: timedelta = LIFE,
        max_body: int = MAX_BODY,
        cache: int = CACHE,
        keys: Keys = NO_KEYS,
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.findings: Sequence[Finding] = ()
        self.redeemed = 0
        """How many claims `redeem` gave."""
        self.read = 0
        """How many of them it read from Redis."""
        self._life = int(life.total_seconds())
        self._max_body = max_body
        self._cache = Cache(cache)
        self._reading: dict[str, list[asyncio.Future[Claim]]] = {}
        self._readers: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        prefix: str = "",
        life: timedelta = LIFE,
        max_body: int = MAX_BODY,
        cache: int = CACHE,
        keys: Keys = NO_KEYS,
        tls: ssl.SSLContext | None = None,
        connections: int = 4,
        answer_within: float = 5.0,
        connect_within: float = 15.0,
        strict: bool = True,
    ) -> Self:
        """Connect as `Connection.open` does, and check that Redis keeps what it is given.

        A claim lives for ``life``; a body has ``max_body`` bytes at most; ``cache`` bytes of redeemed claims
        stay in memory. Claims are encrypted with the first of the ``keys``, if there are any, and decrypted
        with each; those in clear are read as well. ``findings`` tells what the checks found; if ``strict``,
        one by which claims would be lost raises ConfigurationError with the name of Redis's setting.
        """
        connection = await Connection.open(
            url,
            prefix=prefix,
            tls=tls,
            connections=connections,
            answer_within=answer_within,
            connect_within=connect_within,
        )
        store = cls(connection, life=life, max_body=max_body, cache=cache, keys=keys)
        try:
            store.findings = await examine(connection)
            if strict:
                insist(store.findings)
        except BaseException:
            await store.aclose()
            raise
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, which others may have shared."""
        await self.connection.aclose()

    async def ping(self) -> None:
        """Return when Redis answers. Raises StoreUnavailableError."""
        await self.connection.ask("PING")

    async def check_in(self, event: Event, *, claim_id: str | None = None) -> CheckedIn:
        """Put an event in; when this returns, Redis has it. Calls made at the same time share a round trip.

        The claim ID is random unless given. Raises BodyTooLargeError, InvalidEventError and
        StoreUnavailableError; after the last the claim may be there, until it expires.
        """
        place = self._place(event, claim_id)
        await self._put(event, place)
        return place

    async def check_in_many(self, events: Iterable[Event]) -> list[CheckedIn]:
        """Put events in, as `check_in` does. One body that is too large refuses them all."""
        found = list(events)
        places = [self._place(event) for event in found]
        await asyncio.gather(*map(self._put, found, places))
        return places

    async def check_in_stream(
        self, event: Event, body: AsyncIterable[bytes], *, claim_id: str | None = None
    ) -> CheckedIn:
        """Put an event in whose body comes in pieces instead of in ``event.body``. Memory stays flat.

        Raises what `check_in` raises, and what ``body`` raises; then there is no claim.
        """
        place = self._place(event, claim_id)
        async with aclosing(cut(body, limit=self._max_body)) as pieces:
            first = await anext(pieces, b"")
            if len(first) < CHUNK:
                await self._put(replace(event, body=first), place)
            else:
                await self._put_chunks(event, place, _chain(first, pieces))
        return place

    async def check_in_record(
        self, claim_id: str, record: bytes, expires: int, *, chunks: AsyncIterable[bytes] | None = None
    ) -> CheckedIn:
        """Put back what `stored` gave, the record and the chunks that follow it, until ``expires``.

        Raises ClaimCorruptError unless it is this claim's record, intact, with all its chunks.
        """
        place = CheckedIn(claim_id, expires)
        claim = self.read_record(claim_id, record, expires=expires)
        if claim.chunks:
            await put_back_chunks(self.connection, self._key(claim_id), claim, chunks or _none())
        await self._set(place, record)
        return place

    async def redeem(self, claim_id: str, *, expires: int) -> Claim:
        """Read a claim, once for all who ask at the same time or soon after; ``expires`` is the ticket's.

        Reading consumes nothing. Raises ClaimExpiredError, ClaimMissingError, ClaimCorruptError and
        StoreUnavailableError.
        """
        self.redeemed += 1
        claim = self._cache.get(claim_id)
        if claim is None:
            claim = await self._shared(claim_id, expires)
        return claim if claim.expires == expires else replace(claim, expires=expires)

    async def body(self, claim: Claim) -> AsyncIterator[bytes]:
        """Yield the claim's body; one that lies in chunks is read as it goes, with flat memory.

        The last piece comes only once the SHA-256 of the whole fits; so who got it, got what was published.
        Raises ClaimCorruptError before it otherwise, and ClaimExpiredError and StoreUnavailableError.
        """
        if not claim.chunks:
            yield claim.event.body
            return
        async for piece in read_chunks(self.connection, self._key(claim.id), claim, self.keys):
            yield piece

    async def part(self, claim: Claim, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of the claim's body from ``start`` to before ``stop``, reading no others.

        Raises what `body` raises, but the SHA-256 of the whole cannot be checked.
        """
        if not claim.chunks:
            yield claim.event.body[start:stop]
            return
        async for piece in read_part(
            self.connection, self._key(claim.id), claim, self.keys, start=start, stop=stop
        ):
            yield piece

    async def find(self, claim_id: str) -> Claim | None:
        """Read a claim of which only the ID is known, always from Redis; None when there is none.

        Raises ClaimCorruptError and StoreUnavailableError.
        """
        key = self._key(claim_id)
        record, expires = await self.connection.ask_many([("GET", key), ("EXPIRETIME", key)])
        return None if record is None else self.read_record(claim_id, record, expires=expires)

    async def stored(self, claim_id: str, *, expires: int) -> AsyncIterator[bytes]:
        """Yield the claim as it lies in Redis: its record, then its chunks. Raises what `redeem` raises."""
        record = await self._record(claim_id, expires)
        yield record
        head = self.read_head(claim_id, record)
        async for chunk in stored_chunks(
            self.connection, self._key(claim_id), claim_id, head.chunks, expires=expires
        ):
            yield chunk

    def read_record(self, claim_id: str, record: bytes, *, expires: int) -> Claim:
        """Return what a record says that `stored` gave. Raises ClaimCorruptError, ClaimKeyMissingError."""
        return read_record(claim_id, record, expires=expires, keys=self.keys)

    def read_head(self, claim_id: str, record: bytes) -> Head:
        """Return what the head of such a record says. Raises as `read_record` does."""
        return read_head(claim_id, record, self.keys)

    def read_chunks(self, claim: Claim, stored: AsyncIterable[bytes]) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield each chunk that `stored` gave after its record, as it came and as it was published.

        Raises ClaimCorruptError unless all fit the SHA-256 of the whole.
        """
        return proven_chunks(claim, stored, self.keys)

    async def stat(self, claim_id: str) -> ClaimStat | None:
        """Tell what a claim is, from the first 64 KiB of its record; None when there is none.

        Raises ClaimCorruptError and StoreUnavailableError.
        """
        key = self._key(claim_id)
        start, stored, expires = await self.connection.ask_many(
            [("GETRANGE", key, 0, HEAD_LIMIT - 1), ("STRLEN", key), ("EXPIRETIME", key)]
        )
        if not start:
            return None
        head = self.read_head(claim_id, start)
        return ClaimStat(head.size, stored, head.encoding, head.chunks, expires)

    async def glance(self, claim_ids: Iterable[str]) -> dict[str, Glance]:
        """Look at many claims in few round trips; those that are gone or corrupt are left out.

        Raises StoreUnavailableError.
        """
        return await glances(self.connection, {one: self._key(one) for one in claim_ids}, self.keys)

    async def prolong(self, claims: Mapping[str, Glance], expires: int) -> frozenset[str]:
        """Let claims live until ``expires`` at least; return those of which nothing is missing.

        Raises StoreUnavailableError.
        """
        keys = {claim_id: self._keys(claim_id, seen.chunks) for claim_id, seen in claims.items()}
        return await prolong(self.connection, keys, expires)

    def _key(self, claim_id: str) -> str:
        return f"{self.connection.prefix}claim:{{{claim_id}}}"

    def _keys(self, claim_id: str, chunks: int) -> list[str]:
        key = self._key(claim_id)
        return [key, *(f"{key}:{number}" for number in range(chunks))]

    def _place(self, event: Event, claim_id: str | None = None) -> CheckedIn:
        if len(event.body) > self._max_body:
            raise BodyTooLargeError(len(event.body), self._max_body)
        return CheckedIn(claim_id or new_claim_id(), int(time.time()) + self._life)

    def _put(self, event: Event, place: CheckedIn) -> Awaitable[object]:
        if len(event.body) > INLINE:
            return self._put_chunks(event, place, cut(_once(event.body), limit=self._max_body))
        return self._set(place, inline_record(place.claim_id, event, self._cipher(place)))

    async def _put_chunks(self, event: Event, place: CheckedIn, pieces: AsyncIterable[bytes]) -> None:
        key, cipher = self._key(place.claim_id), self._cipher(place)
        written = await write_chunks(self.connection, key, pieces, expires=place.expires, cipher=cipher)
        await self._set(place, chunked_record(place.claim_id, event, cipher, **written._asdict()))

    def _cipher(self, place: CheckedIn) -> Cipher | None:
        return encrypting(self.keys, place.claim_id)

    def _set(self, place: CheckedIn, record: bytes) -> Awaitable[object]:
        return self.connection.ask("SET", self._key(place.claim_id), record, "EXAT", place.expires)

    def _shared(self, claim_id: str, expires: int) -> asyncio.Future[Claim]:
        """Return a future of one's own for the one reading of a claim, which no single asker can cancel."""
        asker: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        askers = self._reading.get(claim_id)
        if askers is None:
            askers = self._reading[claim_id] = []
            reader = asyncio.create_task(self._read(claim_id, expires, askers))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        askers.append(asker)
        return asker

    async def _read(self, claim_id: str, expires: int, askers: list[asyncio.Future[Claim]]) -> None:
        self.read += 1
        claim: Claim | None = None
        error: BaseException = StoreUnavailableError("the claim store was closed")
        try:
            claim = self.read_record(claim_id, await self._record(claim_id, expires), expires=expires)
            self._cache.put(claim)
        except Exception as failed:  # noqa: BLE001 - each asker raises it
            error = failed
        finally:
            del self._reading[claim_id]
            for asker in askers:
                if asker.done():
                    continue
                if claim is not None:
                    asker.set_result(claim)
                else:
                    asker.set_exception(error)

    async def _record(self, claim_id: str, expires: int) -> bytes:
        record: bytes | None = await self.connection.ask("GET", self._key(claim_id))
        if record is None:
            if await self.connection.now() >= expires:
                raise ClaimExpiredError(claim_id, "has expired")
            raise ClaimMissingError(claim_id, "is gone before its time; was it evicted or deleted?")
        return record


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _chain(first: bytes, rest: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _none() -> AsyncIterator[bytes]:
    return
    yield
