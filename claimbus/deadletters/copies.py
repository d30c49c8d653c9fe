"""Copies of claims for letters to keep: each as it lies in Redis, its chunks on the way into the database."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import starmap

from claimbus.database import kept
from claimbus.database.engine import Database
from claimbus.database.kept import KeptClaim
from claimstore.errors import ClaimError
from claimstore.store import ClaimStore


class Copies:
    """Takes copies of claims. Reading consumes nothing."""

    def __init__(self, store: ClaimStore, database: Database) -> None:
        self._store = store
        self._database = database

    async def take(self, wanted: Mapping[str, int], gone: dict[str, ClaimError]) -> list[KeptClaim]:
        """Copy the claims with these IDs, which expire in these seconds since the epoch; all at a time.

        The records come back, for the transaction that has the letters; chunks are in the database by then.
        A claim that cannot be copied, ever, is put into ``gone``. Raises UnavailableError.
        """
        found = await asyncio.gather(*starmap(self._take, wanted.items()), return_exceptions=True)
        copies: list[KeptClaim] = []
        for one in found:
            match one:
                case KeptClaim():
                    copies.append(one)
                case ClaimError():
                    gone[one.claim_id] = one
                case BaseException():
                    raise one
        return copies

    async def _take(self, claim_id: str, expires: int) -> KeptClaim:
        stored = self._store.stored(claim_id, expires=expires)
        record = await anext(stored)
        head = self._store.read_head(claim_id, record)
        at, size, number = datetime.now(UTC), len(record), 0
        async for data in stored:
            await self._database.run(
                partial(kept.write_chunk, claim_id=claim_id, number=number, data=data, at=at)
            )
            size += len(data)
            number += 1
        return KeptClaim(claim_id, head.audience, head.size, size, head.chunks, at, record)
