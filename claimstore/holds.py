"""Which endpoints are held (rule 6), for all workers alike: failures in a row, and the one probe's lease.

One hash an endpoint. Times are milliseconds since the epoch; ``now_ms`` is Redis's own clock unless given, so
that workers whose clocks differ agree. What nobody touches for a claim's life is forgotten.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from claimstore.connection import Connection, Part, Reply
from claimstore.script import Script

THRESHOLD: Final = 5

_FIELDS: Final = ("failures", "since", "next_probe", "pause")

_NOW: Final = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_STATE: Final = f"redis.call('HMGET', KEYS[1], {', '.join(map(repr, _FIELDS))})"

_FAILED: Final = Script(f"""{_NOW}
local threshold, pause, life = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local begins = failures >= threshold and redis.call('HEXISTS', KEYS[1], 'since') == 0
if begins then
  redis.call('HSET', KEYS[1], 'since', now, 'next_probe', now + pause, 'pause', pause)
end
redis.call('PEXPIRE', KEYS[1], life)
return {{begins and 1 or 0, {_STATE}}}
""")

_SUCCEEDED: Final = Script("""
local held = redis.call('HEXISTS', KEYS[1], 'since')
redis.call('DEL', KEYS[1])
return held
""")

_TAKE_PROBE: Final = Script(f"""{_NOW}
local worker, lease = ARGV[2], ARGV[3]
local next_probe, leased = unpack(redis.call('HMGET', KEYS[1], 'next_probe', 'leased'))
if not next_probe or now < tonumber(next_probe) or now < tonumber(leased or 0) then return 0 end
redis.call('HSET', KEYS[1], 'worker', worker, 'leased', now + lease)
return 1
""")

_PROBE_FAILED: Final = Script(f"""{_NOW}
local worker, longest, life = ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('HGET', KEYS[1], 'worker') == worker then
  local pause = math.min(2 * redis.call('HGET', KEYS[1], 'pause'), longest)
  redis.call('HSET', KEYS[1], 'next_probe', now + pause, 'pause', pause)
  redis.call('HDEL', KEYS[1], 'worker', 'leased')
  redis.call('PEXPIRE', KEYS[1], life)
end
return {_STATE}
""")


class HoldState(NamedTuple):
    """Where an endpoint stands. ``since``, ``next_probe`` and ``pause`` are None unless it is held.

    ``begins`` is True in the one answer, over all workers, that began the hold: who gets it announces it.
    """

    failures: int
    since: int | None
    next_probe: int | None
    pause: int | None
    begins: bool = False

    @property
    def held(self) -> bool:
        """Whether only probes may go out."""
        return self.since is not None


class Holds:
    """The holds of all endpoints."""

    def __init__(
        self,
        connection: Connection,
        *,
        threshold: int = THRESHOLD,
        shortest: timedelta = timedelta(seconds=5),
        longest: timedelta = timedelta(minutes=5),
        life: timedelta = timedelta(days=7),
    ) -> None:
        self._connection = connection
        self._threshold = threshold
        self._shortest, self._longest, self._life = map(_milliseconds, (shortest, longest, life))

    async def failed(self, endpoint: str, now_ms: int | None = None) -> HoldState:
        """Count a failure; at the threshold in a row the endpoint is held. Raises StoreUnavailableError."""
        begins, state = await self._run(
            _FAILED, endpoint, _or_redis(now_ms), self._threshold, self._shortest, self._life
        )
        return _state(state)._replace(begins=bool(begins))

    async def succeeded(self, endpoint: str) -> bool:
        """Forget the failures. True for the one caller, over all workers, that released a hold by it.

        To be called after every success, or the failures are not in a row; it costs 4 µs of CPU when many
        calls share a round trip. Raises StoreUnavailableError.
        """
        return bool(await self._run(_SUCCEEDED, endpoint))

    async def state(self, endpoints: Iterable[str]) -> dict[str, HoldState]:
        """Tell where these endpoints stand, in one round trip. Raises StoreUnavailableError."""
        names = list(endpoints)
        states = await self._connection.ask_many(("HMGET", self._key(name), *_FIELDS) for name in names)
        return {name: _state(state) for name, state in zip(names, states, strict=True)}

    async def take_probe(
        self, endpoint: str, worker: str, now_ms: int | None = None, *, lease_ms: int = 60_000
    ) -> bool:
        """Take the one probe of a held endpoint, if it is due and no other is under way.

        The lease ends with `succeeded` or `probe_failed`, or by itself, should the worker have died. It must
        outlast an attempt's timeouts. Raises StoreUnavailableError.
        """
        return bool(await self._run(_TAKE_PROBE, endpoint, _or_redis(now_ms), worker, lease_ms))

    async def probe_failed(self, endpoint: str, worker: str, now_ms: int | None = None) -> HoldState:
        """Double the pause until the next probe, unless another worker has the lease by now."""
        return _state(
            await self._run(_PROBE_FAILED, endpoint, _or_redis(now_ms), worker, self._longest, self._life)
        )

    async def clear(self, endpoint: str) -> None:
        """Forget all of an endpoint: it was removed, paused or disabled. Raises StoreUnavailableError."""
        await self._connection.ask("DEL", self._key(endpoint))

    async def _run(self, script: Script, endpoint: str, *arguments: Part) -> Reply:
        return await script.run(self._connection, [self._key(endpoint)], *arguments)

    def _key(self, endpoint: str) -> str:
        return f"{self._connection.prefix}hold:{{{endpoint}}}"


def _milliseconds(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)


def _or_redis(now_ms: int | None) -> int | str:
    return "" if now_ms is None else now_ms


def _state(fields: Sequence[bytes | None]) -> HoldState:
    failures, since, next_probe, pause = (None if field is None else int(field) for field in fields)
    return HoldState(failures or 0, since, next_probe, pause)
