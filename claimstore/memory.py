"""What the outage watcher remembers (rule 3): the last record of each outage, and changes not yet published.

Three keys a feed under one hash tag: the outages (by MRID: presence, sequence, record), what is pending (by
sequence and MRID: since when, event), and the newest snapshot taken in. They do not expire: sequences only
grow.

Who is given a change to publish, by `commit` or `pending`, is also given those of its outage that are pending
before it. So an outage's changes can be published in order, whichever watcher dies.

Records and events lie encrypted if there are keys, each for its outage and sequence only; MRIDs and sequences
lie in clear. `claimstore.memory_keys` changes the keys.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from claimbus.events.sealing import NO_KEYS, Keys
from claimstore import encryption
from claimstore.connection import Connection
from claimstore.errors import StaleSnapshotError
from claimstore.script import Script

RECORD: Final = "record"
EVENT: Final = "event"

BATCH: Final = 200
"""Decisions in a call. Redis does nothing else meanwhile."""

_PAGE: Final = 500

_COMMIT: Final = Script("""
local newest = tonumber(redis.call('GET', KEYS[3]) or 0)
if tonumber(ARGV[1]) < newest then return newest end
redis.call('SET', KEYS[3], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function take_earlier(sequence, mrid)
  local taken = {}
  while true do
    local field = string.format('%d', sequence) .. ':' .. mrid
    local found = redis.call('HGET', KEYS[2], field)
    if not found then return taken end
    local event = string.match(found, '^%d+:(.*)$')
    redis.call('HSET', KEYS[2], field, now .. ':' .. event)
    table.insert(taken, 1, event)
    sequence = sequence - 1
  end
end
local won = {}
for i = 2, #ARGV, 5 do
  local mrid, expected, present, record, event = unpack(ARGV, i, i + 4)
  local known = redis.call('HGET', KEYS[1], mrid)
  local sequence = known and string.match(known, '^.(%d+):') or '0'
  if sequence == expected then
    sequence = string.format('%d', expected + 1)
    redis.call('HSET', KEYS[1], mrid, present .. sequence .. ':' .. record)
    redis.call('HSET', KEYS[2], sequence .. ':' .. mrid, now .. ':' .. event)
    won[#won + 1] = take_earlier(expected, mrid)
  else
    won[#won + 1] = false
  end
end
return won
""")

_TAKE_PENDING: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pending = redis.call('HGETALL', KEYS[1])
local taken = {}
for i = 1, #pending, 2 do
  local since, event = string.match(pending[i + 1], '^(%d+):(.*)$')
  if now - since >= tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], pending[i], now .. ':' .. event)
    taken[#taken + 1] = pending[i]
    taken[#taken + 1] = event
  end
end
return taken
""")


class Remembered(NamedTuple):
    """What is known of an outage. ``present`` is False once it left the feed; its sequence stays."""

    sequence: int
    present: bool
    record: bytes


class Pending(NamedTuple):
    """A change that was decided and perhaps not published. ``sequence`` is the outage's since that change."""

    mrid: str
    sequence: int
    event: bytes


class Decision(NamedTuple):
    """A change of an outage: what to remember of it, and the event to publish.

    ``expected_sequence`` is the one that the decision was based on, 0 for an outage not known before.
    """

    mrid: str
    expected_sequence: int
    record: bytes
    present: bool
    event: bytes

    @property
    def change(self) -> Pending:
        """The pending change that this becomes when it is won."""
        return Pending(self.mrid, self.expected_sequence + 1, self.event)


class OutageMemory:
    """The memory of one feed, shared by all watchers of it.

    What it reads raises ClaimKeyMissingError, a StoreUnavailableError, for a key that is not set, and
    BrokenBoxError for what was not encrypted so.
    """

    def __init__(self, connection: Connection, feed: str, keys: Keys = NO_KEYS) -> None:
        self._connection = connection
        self._box = Box(feed, keys)
        key = outages_key(connection.prefix, feed)
        self._outages, self._pending, self._snapshot = key, pending_key(key), f"{key}:snapshot"

    async def recall(self) -> dict[str, Remembered]:
        """Return all outages ever seen, by MRID. Raises StoreUnavailableError.

        It is read in pages, between which another watcher may commit: `commit` tells by the sequence.
        """
        found: dict[str, Remembered] = {}
        cursor = b"0"
        while True:
            cursor, page = await self._connection.ask("HSCAN", self._outages, cursor, "COUNT", _PAGE)
            for mrid, value in zip(page[::2], page[1::2], strict=True):
                sequence, present, stored = _remembered(value)
                found[mrid.decode()] = Remembered(
                    sequence, present, self._box.opened(stored, RECORD, sequence, mrid.decode())
                )
            if cursor == b"0":
                return found

    async def commit(self, snapshot: int, decisions: Sequence[Decision]) -> list[Pending]:
        """Take in the changes that a snapshot brought, one an outage at most; return what is to be published.

        A change is lost to another watcher when the outage's sequence is no longer the expected one. One that
        is won is remembered, with the next sequence, and pending, in one step. Returned are those that were
        won, each after the changes of its outage that were pending before. ``snapshot`` grows from one
        snapshot to the next (say, its second since the epoch); call this also when nothing changed, so that
        an older one is recognised. Raises StaleSnapshotError for that, and StoreUnavailableError; after
        either, changes that were won before are pending.
        """
        mine: list[Pending] = []
        for start in range(0, max(len(decisions), 1), BATCH):
            batch = decisions[start : start + BATCH]
            keys = [self._outages, self._pending, self._snapshot]
            reply = await _COMMIT.run(self._connection, keys, snapshot, *self._flat(batch), durable=True)
            if isinstance(reply, int):
                raise StaleSnapshotError(snapshot, newest=reply)
            for decision, earlier in zip(batch, reply, strict=True):
                if earlier is not None:
                    first = decision.expected_sequence + 1 - len(earlier)
                    mine += (
                        self._pending_change(decision.mrid, n, event)
                        for n, event in enumerate(earlier, first)
                    )
                    mine.append(decision.change)
        return mine

    async def pending(self, *, older_than: timedelta = timedelta(0)) -> list[Pending]:
        """Take the changes that nobody has reported done, each outage's in the order of their sequences.

        Taking one, here or by `commit`, counts its age from now: every watcher has ``older_than`` to publish
        what it took, and all that is pending of an outage is of one age. Raises StoreUnavailableError.
        """
        milliseconds = int(older_than.total_seconds() * 1000)
        taken = await _TAKE_PENDING.run(self._connection, [self._pending], milliseconds)
        found = []
        for field, event in zip(taken[::2], taken[1::2], strict=True):
            sequence, _, mrid = field.decode().partition(":")
            found.append(self._pending_change(mrid, int(sequence), event))
        return sorted(found)

    async def is_pending(self, change: Pending) -> bool:
        """Tell whether nobody has reported a change done yet. Raises StoreUnavailableError."""
        return bool(await self._connection.ask("HEXISTS", self._pending, _field(change)))

    async def done(self, changes: Iterable[Pending]) -> None:
        """Forget pending changes: they were published and confirmed. Raises StoreUnavailableError."""
        fields = [_field(change) for change in changes]
        await self._connection.ask_many(
            ("HDEL", self._pending, *fields[start : start + BATCH]) for start in range(0, len(fields), BATCH)
        )

    def _pending_change(self, mrid: str, sequence: int, stored: bytes) -> Pending:
        return Pending(mrid, sequence, self._box.opened(stored, EVENT, sequence, mrid))

    def _flat(self, decisions: Iterable[Decision]) -> Iterator[str | bytes]:
        for mrid, expected, record, present, event in decisions:
            sequence = expected + 1
            yield from (mrid, str(expected), "+" if present else "-")
            yield self._box.stored(record, RECORD, sequence, mrid)
            yield self._box.stored(event, EVENT, sequence, mrid)


class Box:
    """Encrypts and decrypts what is remembered of one feed, if there are keys."""

    def __init__(self, feed: str, keys: Keys) -> None:
        self._thing = f"outage feed {feed}"
        self._keys = keys

    def stored(self, value: bytes, what: str, sequence: int, mrid: str) -> bytes:
        """Return a record or an event as it is to be stored."""
        return encryption.stored(self._keys, self._thing, value, f"{what} {sequence} {mrid}".encode())

    def opened(self, stored: bytes, what: str, sequence: int, mrid: str) -> bytes:
        """Return it as it was. Raises ClaimKeyMissingError and BrokenBoxError."""
        return encryption.opened(self._keys, self._thing, stored, f"{what} {sequence} {mrid}".encode())


def outages_key(prefix: str, feed: str) -> str:
    """Return the key of a feed's outages."""
    return f"{prefix}outages:{{{feed}}}"


def pending_key(outages: str) -> str:
    """Return the key of what is pending, by that of the outages."""
    return f"{outages}:pending"


def _field(change: Pending) -> str:
    return f"{change.sequence}:{change.mrid}"


def _remembered(value: bytes) -> Remembered:
    sequence, _, record = value[1:].partition(b":")
    return Remembered(int(sequence), value.startswith(b"+"), record)
