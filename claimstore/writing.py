"""Checking in: a body becomes one record, or chunks first and then their record, all with one expiry.

All of it is durable: a claim counts once as many replicas have it as must.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Final

from claimbus.events.event import Event
from claimbus.events.sealing import Cipher, Keys
from claimstore.chunks import CHUNK, cut, put_back_chunks, write_chunks
from claimstore.claim import CheckedIn, Claim, new_claim_id
from claimstore.connection import Connection
from claimstore.encryption import encrypting
from claimstore.errors import BodyTooLargeError
from claimstore.record import chunked_record, inline_record

INLINE: Final = 1 << 20
"""Bytes; a longer body lies in chunks. One that is streamed does so from one whole chunk on."""


class Writing:
    """Claims as they are written to Redis; ``key`` gives the key of a claim.

    What is written raises StoreUnavailableError; the claim may be there then, until it expires.
    """

    def __init__(
        self,
        connection: Connection,
        key: Callable[[str], str],
        keys: Keys,
        *,
        life: timedelta,
        max_body: int,
    ) -> None:
        self._connection = connection
        self._key = key
        self._keys = keys
        self._life = int(life.total_seconds())
        self._max_body = max_body

    async def event(self, event: Event, claim_id: str | None) -> CheckedIn:
        """Write an event. Raises BodyTooLargeError and InvalidEventError."""
        place = self._place(event, claim_id)
        await self._put(event, place)
        return place

    async def events(self, events: Iterable[Event]) -> list[CheckedIn]:
        """Write events, as `event` does. One body that is too large refuses them all."""
        found = list(events)
        places = [self._place(event) for event in found]
        await asyncio.gather(*map(self._put, found, places))
        return places

    async def stream(self, event: Event, body: AsyncIterable[bytes], claim_id: str | None) -> CheckedIn:
        """Write an event whose body comes in pieces, raising what `event` and ``body`` raise."""
        place = self._place(event, claim_id)
        async with aclosing(cut(body, limit=self._max_body)) as pieces:
            first = await anext(pieces, b"")
            if len(first) < CHUNK:
                await self._put(replace(event, body=first), place)
            else:
                await self._put_chunks(event, place, _chain(first, pieces))
        return place

    async def record(self, claim: Claim, record: bytes, chunks: AsyncIterable[bytes] | None) -> CheckedIn:
        """Write a claim as it was stored. Raises ClaimCorruptError unless it has all its chunks."""
        if claim.chunks:
            await put_back_chunks(self._connection, self._key(claim.id), claim, chunks or _none())
        place = CheckedIn(claim.id, claim.expires)
        await self._set(place, record)
        return place

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
        written = await write_chunks(self._connection, key, pieces, expires=place.expires, cipher=cipher)
        await self._set(place, chunked_record(place.claim_id, event, cipher, **written._asdict()))

    def _cipher(self, place: CheckedIn) -> Cipher | None:
        return encrypting(self._keys, place.claim_id)

    def _set(self, place: CheckedIn, record: bytes) -> Awaitable[object]:
        key = self._key(place.claim_id)
        return self._connection.ask("SET", key, record, "EXAT", place.expires, durable=True)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _chain(first: bytes, rest: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _none() -> AsyncIterator[bytes]:
    return
    yield
