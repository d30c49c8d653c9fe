"""The claim store: bodies are checked in, redeemed by claim ID, and expire by themselves."""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from claimbus.events.event import Event
from claimbus.events.sealing import NO_KEYS, Keys
from claimstore.checks import Finding, examine, insist
from claimstore.chunks import proven_chunks, read_chunks, read_part, stored_chunks
from claimstore.claim import CheckedIn, Claim, ClaimStat
from claimstore.connection import Connection
from claimstore.glance import Glance, glances, prolong
from claimstore.record import HEAD_LIMIT, Head, read_head, read_record
from claimstore.redeeming import Redeeming
from claimstore.writing import Writing

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
        self._writing = Writing(connection, self._key, keys, life=life, max_body=max_body)
        self._redeeming = Redeeming(connection, self._key, self.read_record, cache=cache)

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
        replicas: int | None = None,
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
            replicas=replicas,
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
        """Return when Redis answers, each master of a cluster. Raises StoreUnavailableError."""
        await self.connection.ping()

    async def check_in(self, event: Event, *, claim_id: str | None = None) -> CheckedIn:
        """Put an event in; when this returns, Redis has it. Calls made at the same time share a round trip.

        The claim ID is random unless given. Raises BodyTooLargeError, InvalidEventError and
        StoreUnavailableError; after the last the claim may be there, until it expires.
        """
        return await self._writing.event(event, claim_id)

    async def check_in_many(self, events: Iterable[Event]) -> list[CheckedIn]:
        """Put events in, as `check_in` does. One body that is too large refuses them all."""
        return await self._writing.events(events)

    async def check_in_stream(
        self, event: Event, body: AsyncIterable[bytes], *, claim_id: str | None = None
    ) -> CheckedIn:
        """Put an event in whose body comes in pieces instead of in ``event.body``. Memory stays flat.

        Raises what `check_in` raises, and what ``body`` raises; then there is no claim.
        """
        return await self._writing.stream(event, body, claim_id)

    async def check_in_record(
        self, claim_id: str, record: bytes, expires: int, *, chunks: AsyncIterable[bytes] | None = None
    ) -> CheckedIn:
        """Put back what `stored` gave, the record and the chunks that follow it, until ``expires``.

        Raises ClaimCorruptError unless it is this claim's record, intact, with all its chunks.
        """
        claim = self.read_record(claim_id, record, expires=expires)
        return await self._writing.record(claim, record, chunks)

    async def redeem(self, claim_id: str, *, expires: int) -> Claim:
        """Read a claim, once for all who ask at the same time or soon after; ``expires`` is the ticket's.

        Reading consumes nothing. Raises ClaimExpiredError, ClaimMissingError, ClaimCorruptError and
        StoreUnavailableError.
        """
        return await self._redeeming.redeem(claim_id, expires)

    @property
    def redeemed(self) -> int:
        """How many claims `redeem` gave."""
        return self._redeeming.redeemed

    @property
    def read(self) -> int:
        """How many of them it read from Redis."""
        return self._redeeming.read

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
        record = await self._redeeming.record(claim_id, expires)
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
