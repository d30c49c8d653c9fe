"""The newest status of each outage that a latest-only endpoint was given (rule 7).

One key an endpoint and partition key, so that each expires by itself, a claim's life after its last use.
"""

from datetime import timedelta
from typing import Final

from claimstore.connection import Connection
from claimstore.script import Script

# Sequences may exceed the 2^53 up to which Lua's numbers are exact: as digits, the longer one is the greater.
_DELIVERED: Final = Script("""
local newest = redis.call('GET', KEYS[1]) or ''
if #newest < #ARGV[1] or (#newest == #ARGV[1] and newest < ARGV[1]) then newest = ARGV[1] end
redis.call('SET', KEYS[1], newest, 'EX', ARGV[2])
return newest
""")


class Latest:
    """The newest delivered sequences of all latest-only endpoints. Calls made together share a round trip."""

    def __init__(self, connection: Connection, *, life: timedelta) -> None:
        self._connection = connection
        self._life = int(life.total_seconds())

    async def newest(self, endpoint: str, partitionkey: str) -> int | None:
        """Return the newest sequence delivered, None when there is none. Raises StoreUnavailableError."""
        found = await self._connection.ask("GET", self._key(endpoint, partitionkey))
        return None if found is None else int(found)

    async def delivered(self, endpoint: str, partitionkey: str, sequence: int) -> int:
        """Note a delivered sequence and return the newest, which only grows. Raises StoreUnavailableError."""
        return int(
            await _DELIVERED.run(self._connection, [self._key(endpoint, partitionkey)], sequence, self._life)
        )

    def _key(self, endpoint: str, partitionkey: str) -> str:
        return f"{self._connection.prefix}latest:{{{endpoint}}}:{partitionkey}"
