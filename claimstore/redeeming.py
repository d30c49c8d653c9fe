"""Redeeming: a claim is read once for all who ask at the same time or soon after."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from claimstore.cache import Cache
from claimstore.claim import Claim
from claimstore.connection import Connection
from claimstore.errors import ClaimExpiredError, ClaimMissingError, StoreUnavailableError


class Read(Protocol):
    """Makes a claim of its record."""

    def __call__(self, claim_id: str, record: bytes, *, expires: int) -> Claim:
        """Return it. Raises ClaimCorruptError and ClaimKeyMissingError."""


class Redeeming:
    """Claims as they are read from Redis, the last ones from memory; ``key`` gives the key of a claim."""

    def __init__(self, connection: Connection, key: Callable[[str], str], read: Read, *, cache: int) -> None:
        self.redeemed = 0
        """How many claims `redeem` gave."""
        self.read = 0
        """How many of them it read from Redis."""
        self._connection = connection
        self._key = key
        self._opened = read
        self._cache = Cache(cache)
        self._reading: dict[str, list[asyncio.Future[Claim]]] = {}
        self._readers: set[asyncio.Task[None]] = set()

    async def redeem(self, claim_id: str, expires: int) -> Claim:
        """Return a claim. Raises ClaimError and StoreUnavailableError."""
        self.redeemed += 1
        claim = self._cache.get(claim_id)
        if claim is None:
            claim = await self._shared(claim_id, expires)
        return claim if claim.expires == expires else replace(claim, expires=expires)

    async def record(self, claim_id: str, expires: int) -> bytes:
        """Read a claim's record. Raises ClaimExpiredError, ClaimMissingError and StoreUnavailableError."""
        key = self._key(claim_id)
        record: bytes | None = await self._connection.ask("GET", key)
        if record is None and await self._connection.now(key) >= expires:
            raise ClaimExpiredError(claim_id, "has expired")
        if record is None and await self._connection.look_again(key):
            record = await self._connection.ask("GET", key)
        if record is None:
            raise ClaimMissingError(claim_id, "is gone before its time; was it evicted or deleted?")
        return record

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
            record = await self.record(claim_id, expires)
            claim = self._opened(claim_id, record, expires=expires)
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
