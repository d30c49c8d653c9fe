"""Many claims at once: who may see each, how long it lives, and letting it live longer. No body is read."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from claimbus.events.event import Audience
from claimbus.events.sealing import NO_KEYS, Keys
from claimstore.connection import Connection
from claimstore.errors import ClaimCorruptError
from claimstore.record import HEAD_LIMIT, read_head
from claimstore.script import Script

USUAL_HEAD: Final = 2048
"""Bytes that are read of a record first; most heads have a quarter of that."""

_PROLONG: Final = Script("""
if redis.call('EXISTS', unpack(KEYS)) < #KEYS then return 0 end
for _, key in ipairs(KEYS) do redis.call('EXPIREAT', key, ARGV[1], 'GT') end
return 1
""")


class Glance(NamedTuple):
    """Who may see an event, in how many chunks its body lies, and the second in which its claim expires."""

    audience: Audience
    chunks: int
    expires: int


async def glances(
    connection: Connection, keys: Mapping[str, str], encryption: Keys = NO_KEYS
) -> dict[str, Glance]:
    """Look at the claims of these IDs, at these keys; those that are gone or corrupt are left out.

    Raises StoreUnavailableError, also for a claim encrypted with a key that is not set.
    """
    found = await _seen(connection, keys, USUAL_HEAD, encryption)
    longer = {claim_id: keys[claim_id] for claim_id, seen in found.items() if seen is None}
    found |= await _seen(connection, longer, HEAD_LIMIT, encryption)
    return {claim_id: seen for claim_id, seen in found.items() if seen is not None}


async def prolong(connection: Connection, keys: Mapping[str, Iterable[str]], expires: int) -> frozenset[str]:
    """Let the claims of these IDs, each with all its keys, live until ``expires`` at least.

    Returns those that do; a claim of which anything is missing is left as it is.
    """
    lasting = [_PROLONG.run(connection, list(of_claim), expires, durable=True) for of_claim in keys.values()]
    answers = await asyncio.gather(*lasting)
    return frozenset(claim_id for claim_id, there in zip(keys, answers, strict=True) if there)


async def _seen(
    connection: Connection, keys: Mapping[str, str], limit: int, encryption: Keys
) -> dict[str, Glance | None]:
    """Look at the first ``limit`` bytes of records; None stands for a head that these do not hold."""
    starts, ends = await asyncio.gather(
        connection.ask_many(("GETRANGE", key, 0, limit - 1) for key in keys.values()),
        connection.ask_many(("EXPIRETIME", key) for key in keys.values()),
    )
    found: dict[str, Glance | None] = {}
    for claim_id, start, expires in zip(keys, starts, ends, strict=True):
        try:
            head = read_head(claim_id, start, encryption)
        except ClaimCorruptError:
            if start:
                found[claim_id] = None
        else:
            found[claim_id] = Glance(head.audience, head.chunks, expires)
    return found
