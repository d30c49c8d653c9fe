"""Which keys claims are encrypted with: a key is needed until there is nothing of its left."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final

from claimstore.connection import Connection
from claimstore.errors import ClaimCorruptError
from claimstore.record import KEY_LIMIT, read_key
from claimstore.server import Server

_PAGE: Final = 1000


def count_by_key(beginnings: Iterable[tuple[str, bytes]]) -> Counter[str | None]:
    """Count claims by the name of their key, None for those in clear; corrupt ones are left out.

    A claim comes as its ID and the first `KEY_LIMIT` bytes of its record.
    """
    found: Counter[str | None] = Counter()
    for claim_id, start in beginnings:
        try:
            found[read_key(claim_id, start)] += 1
        except ClaimCorruptError:
            continue
    return found


async def claims_by_key(connection: Connection) -> Counter[str | None]:
    """Count the claims in Redis alike, walking through all its keys. Raises StoreUnavailableError."""
    pattern = f"{connection.prefix}claim:{{*}}"  # of a chunk's key this is only the beginning
    shares = await asyncio.gather(*(_counted(master, pattern) for master in connection.masters))
    return sum(shares, Counter())


async def _counted(master: Server, pattern: str) -> Counter[str | None]:
    found: Counter[str | None] = Counter()
    cursor = b"0"
    while True:
        cursor, keys = await master.ask("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
        starts = await asyncio.gather(*(master.ask("GETRANGE", key, 0, KEY_LIMIT - 1) for key in keys))
        found += count_by_key(zip(map(bytes.decode, keys), starts, strict=True))
        if cursor == b"0":
            return found
