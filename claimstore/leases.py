"""Tasks that one process at a time should do, whichever it is."""

from claimstore.connection import Connection
from claimstore.script import Script

_TAKE = Script("""
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

_GIVE_BACK = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
""")


class Leases:
    """Leases that end by themselves, should their owner have died."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, task: str, owner: str, *, seconds: float) -> bool:
        """Take or renew the lease of a task. False: another has it. Raises StoreUnavailableError."""
        milliseconds = round(seconds * 1000)
        return bool(await _TAKE.run(self._connection, [self._key(task)], owner, milliseconds))

    async def give_back(self, task: str, owner: str) -> None:
        """End a lease early; one that is not the owner's stays. Raises StoreUnavailableError."""
        await _GIVE_BACK.run(self._connection, [self._key(task)], owner)

    def _key(self, task: str) -> str:
        return f"{self._connection.prefix}lease:{{{task}}}"
