"""Which workers are there: each says so every few seconds, and is forgotten when it stops or falls silent.

One sorted set; a worker's score is the moment until which it counts as there, in milliseconds since the epoch
by Redis's own clock, so that workers whose clocks differ agree.
"""

from datetime import timedelta
from typing import Final

from claimstore.connection import Connection
from claimstore.script import Script

LIFE: Final = timedelta(seconds=15)

_NOTE: Final = Script("""
local worker, life = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now + life + 1, '+inf')) do
  redis.call('ZADD', KEYS[1], now + life, name) -- the clock was set back
end
redis.call('ZADD', KEYS[1], now + life, worker)
redis.call('PEXPIRE', KEYS[1], life)
return redis.call('ZRANGE', KEYS[1], 0, -1)
""")


class Presence:
    """The workers that are there. ``life`` is for how long one that falls silent still counts."""

    def __init__(self, connection: Connection, *, life: timedelta = LIFE) -> None:
        self.life = life
        self._connection = connection
        self._key = f"{connection.prefix}workers"

    async def note(self, worker: str) -> frozenset[str]:
        """Note that a worker is there; return the names of all that are. Raises StoreUnavailableError."""
        milliseconds = round(self.life.total_seconds() * 1000)
        found = await _NOTE.run(self._connection, [self._key], worker, milliseconds)
        return frozenset(name.decode() for name in found)

    async def leave(self, worker: str) -> None:
        """Note that a worker stops. Raises StoreUnavailableError."""
        await self._connection.ask("ZREM", self._key, worker)
