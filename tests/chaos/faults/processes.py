"""Processes killed by SIGKILL and stopped by SIGSTOP, at random moments."""

import asyncio
import random

from claimbus.cli.demo.receivers import Behaviour
from claimbus.database import letters
from claimbus.database.letters import EVERYTHING
from tests.chaos.fault import Fault, Inject, Part
from tests.chaos.house import WORKERS, House
from tests.chaos.premises import REFUSER, REFUSES

STOPPED_FOR = 3.0
LEASE = 15.0
"""Seconds for which an attendant holds a replay."""

REFUSES_ALL = Behaviour(kind="status", status=422)


def killed(*names: str) -> Inject:
    """Kill one of these processes, and start it again after a moment."""

    async def inject(house: House, chance: random.Random) -> None:
        name = chance.choice(names)
        house.kill(name)
        await asyncio.sleep(chance.uniform(0, 1))
        await house.start(name)

    return inject


def stopped(*names: str, seconds: float = STOPPED_FOR) -> Inject:
    """Stop one of these processes for a while."""

    async def inject(house: House, chance: random.Random) -> None:
        name = chance.choice(names)
        house.pause(name)
        await asyncio.sleep(seconds)
        house.resume(name)

    return inject


async def both_workers(house: House, chance: random.Random) -> None:
    for name in WORKERS:
        house.kill(name)
    await asyncio.sleep(chance.uniform(0, 1))
    await asyncio.gather(*map(house.start, WORKERS))


async def replay_killed(house: House, chance: random.Random) -> None:
    await _begin_replay(house, chance)
    house.kill("attendant")
    await asyncio.sleep(chance.uniform(0, 1))
    await house.start("attendant")
    await _end_replay(house)


async def replay_stopped(house: House, chance: random.Random) -> None:
    """Stop who runs it for longer than its lease; another takes it over, and then both are there."""
    await _begin_replay(house, chance)
    house.pause("attendant")
    await house.start("attendant-2")
    await asyncio.sleep(LEASE + 2)
    house.resume("attendant")
    await _end_replay(house)
    house.kill("attendant-2")
    await house.ended("attendant-2")


async def _begin_replay(house: House, chance: random.Random) -> None:
    """Begin to replay some dead letters; their receiver takes them now."""
    await house.behave(REFUSER, REFUSES_ALL)
    await house.until(lambda: _letters(house, "dead", at_least=30), 60, "there are no dead letters")
    await house.behave(REFUSER)
    await house.claimbus(
        *("deadletters", "replay", "--all", "--yes", "--detach", "--no-canary", "--rate", "20"),
        *("--actor", "chaos", "--reason", "the receiver takes them now", "--json"),
    )
    await asyncio.sleep(chance.uniform(0, 1.5))


async def _end_replay(house: House) -> None:
    await house.until(lambda: _letters(house, "replaying", at_most=0), 90, "the replay does not end")
    await house.behave(REFUSER, REFUSES)


async def _letters(house: House, state: str, *, at_least: int = 0, at_most: int = 1_000_000) -> bool:
    found = await house.database.read(lambda sql: letters.count(sql, EVERYTHING, by="state"))
    return at_least <= found.get(state, 0) <= at_most


STREAM: frozenset[Part] = frozenset({"stream"})
WATCHER: frozenset[Part] = frozenset({"watcher"})
OUTBOX: frozenset[Part] = frozenset({"outbox"})

FAULTS = (
    Fault("publisher-killed", "the publisher, SIGKILL", killed("load")),
    Fault("publisher-stopped", "the publisher, SIGSTOP for 3 s", stopped("load")),
    Fault("worker-killed", "one of two workers, SIGKILL", killed(*WORKERS), short=True),
    Fault("worker-stopped", "one of two workers, SIGSTOP for 3 s", stopped(*WORKERS), short=True),
    Fault("workers-killed", "both workers at once, SIGKILL", both_workers),
    Fault("attendant-killed", "who records dead letters, SIGKILL", killed("attendant")),
    Fault("attendant-stopped", "who records dead letters, SIGSTOP for 3 s", stopped("attendant")),
    Fault("replay-killed", "who runs a replay, SIGKILL in its middle", replay_killed, short=True),
    Fault("replay-stopped", "who runs a replay, SIGSTOP beyond its lease", replay_stopped, times=1),
    Fault("portal-killed", "the portal of a stream, SIGKILL", killed("portal"), parts=STREAM, short=True),
    Fault("portal-stopped", "the portal of a stream, SIGSTOP for 3 s", stopped("portal"), parts=STREAM),
    Fault("subscriber-killed", "the subscriber of a stream, SIGKILL", killed("subscriber"), parts=STREAM),
    Fault(
        "subscriber-stopped",
        "the subscriber of a stream, SIGSTOP for 3 s",
        stopped("subscriber"),
        parts=STREAM,
    ),
    Fault("watcher-killed", "the OMS watcher, SIGKILL", killed("watcher"), parts=WATCHER),
    Fault("watcher-stopped", "the OMS watcher, SIGSTOP for 3 s", stopped("watcher"), parts=WATCHER),
    Fault("relay-killed", "the outbox's relay, SIGKILL", killed("relay"), parts=OUTBOX),
    Fault("relay-stopped", "the outbox's relay, SIGSTOP for 3 s", stopped("relay"), parts=OUTBOX),
)
