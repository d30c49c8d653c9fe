"""A Lua script: several steps in Redis that nothing comes between."""

import hashlib
from collections.abc import Sequence

from redis.exceptions import NoScriptError

from claimstore.connection import Connection, Part, Reply


class Script:
    """A Lua script, sent whole only when Redis does not know it yet.

    The keys of one call share a hash tag, as Redis Cluster demands.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, connection: Connection, keys: Sequence[str], *arguments: Part, durable: bool = False
    ) -> Reply:
        """Run it and return its reply, durable as `Connection.ask` has it. Raises StoreUnavailableError."""
        words = (len(keys), *keys, *arguments)
        try:
            return await connection.ask("EVALSHA", self._sha, *words, durable=durable)
        except NoScriptError:
            return await connection.ask("EVAL", self._source, *words, durable=durable)
