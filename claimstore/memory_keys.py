"""Changing the keys with which outages are remembered, which does not go by itself: they do not expire."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from claimbus.events.sealing import BrokenBoxError, Keys
from claimstore.connection import Connection
from claimstore.encryption import key_of
from claimstore.memory import EVENT, RECORD, Box, outages_key, pending_key
from claimstore.script import Script

_PAGE: Final = 500

_REPLACE: Final = Script("""
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  end
end
""")

_VALUE: Final = re.compile(rb"([+-]?)([0-9]+):", re.ASCII)
"""How a value begins: an outage's presence and sequence, or since when a change is pending."""


class _Entry(NamedTuple):
    """One value of a hash: where what may be encrypted ``begins``, and of which outage and sequence it is."""

    field: bytes
    value: bytes
    begins: int
    what: str
    sequence: int
    mrid: str

    @property
    def stored(self) -> bytes:
        return self.value[self.begins :]


async def rekey(connection: Connection, keys: Keys) -> None:
    """Encrypt what is remembered of all feeds with the first key, while watchers go on; without keys nothing.

    Raises StoreUnavailableError, also for a key that is not set, and BrokenBoxError.
    """
    if keys.first is None:
        return
    async for feed in _feeds(connection):
        box = Box(feed, keys)
        while await _rekeyed(connection, feed, box, keys.first):  # a watcher may have come between
            pass


async def by_key(connection: Connection) -> Counter[str | None]:
    """Count records and events that are remembered by the name of their key, None for those in clear."""
    found: Counter[str | None] = Counter()
    async for feed in _feeds(connection):
        for key in _keys(connection, feed):
            async for page in _entries(connection, key):
                found.update(key_of(one.stored) for one in page)
    return found


async def _rekeyed(connection: Connection, feed: str, box: Box, first: str) -> int:
    """Encrypt anew what is not encrypted with the first key; return how much that was."""
    count = 0
    for key in _keys(connection, feed):
        async for page in _entries(connection, key):
            arguments: list[bytes] = []
            for one in page:
                if key_of(one.stored) != first:
                    opened = box.opened(one.stored, one.what, one.sequence, one.mrid)
                    anew = box.stored(opened, one.what, one.sequence, one.mrid)
                    arguments += (one.field, one.value, one.value[: one.begins] + anew)
            if arguments:
                await _REPLACE.run(connection, [key], *arguments)
                count += len(arguments) // 3
    return count


def _keys(connection: Connection, feed: str) -> tuple[str, str]:
    key = outages_key(connection.prefix, feed)
    return key, pending_key(key)


async def _feeds(connection: Connection) -> AsyncIterator[str]:
    """Yield the feeds of which anything is remembered."""
    begins, ends = outages_key(connection.prefix, "\0").split("\0")
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", begins) + "*" + ends
    for server in connection.masters:
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, names = await server.ask("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
            found.update(name.decode().removeprefix(begins).removesuffix(ends) for name in names)
            if cursor == b"0":
                break
        for feed in sorted(found):
            yield feed


async def _entries(connection: Connection, key: str) -> AsyncIterator[list[_Entry]]:
    cursor = b"0"
    while True:
        cursor, page = await connection.ask("HSCAN", key, cursor, "COUNT", _PAGE)
        yield [_entry(field, value) for field, value in zip(page[::2], page[1::2], strict=True)]
        if cursor == b"0":
            return


def _entry(field: bytes, value: bytes) -> _Entry:
    match = _VALUE.match(value)
    if match is None:
        raise BrokenBoxError(f"outage {field!r:.60}", "is not what a watcher remembers")
    if match[1]:
        return _Entry(field, value, match.end(), RECORD, int(match[2]), field.decode())
    sequence, _, mrid = field.decode().partition(":")
    return _Entry(field, value, match.end(), EVENT, int(sequence), mrid)
