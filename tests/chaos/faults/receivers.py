"""Receivers that hang, break off, dawdle, overflow, forget, let their certificate expire, and move."""

import asyncio
import random

from claimbus.cli.demo.receivers import Behaviour
from tests.chaos.fault import Fault, Inject
from tests.chaos.house import House
from tests.chaos.premises import MOVED, VICTIM

ILL_FOR = (2.0, 4.0)
"""Seconds."""


def behaving(behaviour: Behaviour) -> Inject:
    """Have one receiver behave so for a while."""

    async def inject(house: House, chance: random.Random) -> None:
        await house.behave(house.victim, behaviour)
        await asyncio.sleep(chance.uniform(*ILL_FOR))
        await house.behave(house.victim)

    return inject


async def expired(house: House, chance: random.Random) -> None:
    await house.tell(house.victim, expired=True)
    await asyncio.sleep(chance.uniform(*ILL_FOR))
    await house.tell(house.victim, expired=False)


async def moves(house: House, chance: random.Random) -> None:
    """Its keeper gives the endpoint another address; the old one is switched off, and later the other way."""
    here = house.victim
    house.victim = MOVED if here == VICTIM else VICTIM
    await house.behave(house.victim)
    await house.behave(here, Behaviour(kind="down"))
    await asyncio.sleep(chance.uniform(0, 1))
    words = ["endpoints", "change", house.endpoints[VICTIM].id, "--url", house.urls[house.victim]]
    await house.claimbus(*words, "--actor", "chaos", "--reason", "we have moved", "--json")


FAULTS = (
    Fault("receiver-hangs", "a receiver never answers", behaving(Behaviour(kind="hang")), short=True),
    Fault("receiver-resets", "a receiver breaks off", behaving(Behaviour(kind="reset"))),
    Fault(
        "receiver-drips",
        "a receiver answers a byte every 0.1 s",
        behaving(Behaviour(kind="drip", seconds=0.1)),
    ),
    Fault("receiver-huge", "a receiver answers 100 MB", behaving(Behaviour(kind="huge", size=100_000_000))),
    Fault("receiver-fails", "a receiver answers 503", behaving(Behaviour(kind="status", status=503))),
    Fault(
        "receiver-forgets",
        "a receiver answers 200 and forgets",
        behaving(Behaviour(kind="status", status=200)),
    ),
    Fault("receiver-down", "nobody listens there", behaving(Behaviour(kind="down"))),
    Fault("receiver-expired", "a receiver's certificate has expired", expired),
    Fault("receiver-moves", "an endpoint gets another address while events flow", moves, short=True),
)
