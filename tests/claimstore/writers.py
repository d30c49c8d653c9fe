"""Checking in without end, through whatever happens to Redis meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from claimstore import CheckedIn, ClaimStore
from claimstore.errors import StoreUnavailableError
from tests.claimstore.samples import JSON_BODY, an_event


@asynccontextmanager
async def writing(store: ClaimStore, *, writers: int = 20) -> AsyncIterator[list[CheckedIn]]:
    """Check in with several writers and note what was acknowledged, until the block ends."""
    written: list[CheckedIn] = []

    async def write() -> None:
        while True:
            try:
                written.append(await store.check_in(an_event()))
            except StoreUnavailableError:
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(write()) for _ in range(writers)]
    try:
        yield written
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def assert_all_there(store: ClaimStore, written: list[CheckedIn]) -> None:
    """Redeem all that was acknowledged."""
    claims = await asyncio.gather(*(store.redeem(one.claim_id, expires=one.expires) for one in written))
    assert {claim.event.body for claim in claims} == {JSON_BODY}
