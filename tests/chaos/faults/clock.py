"""The clocks of our processes jump by an hour, those of the servers and receivers do not."""

import asyncio
import random

from tests.chaos.fault import Fault, Inject
from tests.chaos.house import House

HOUR = 3600
AWAY_FOR = (3.0, 5.0)
"""Seconds."""


def jumping(seconds: int) -> Inject:
    """Let the clocks jump, and after a while back."""

    async def inject(house: House, chance: random.Random) -> None:
        house.jump(seconds)
        await asyncio.sleep(chance.uniform(*AWAY_FOR))
        house.jump(0)

    return inject


FAULTS = (
    Fault("clock-ahead", "our clocks an hour ahead for some seconds", jumping(HOUR), faked_clock=True),
    Fault("clock-behind", "our clocks an hour behind for some seconds", jumping(-HOUR), faked_clock=True),
)
