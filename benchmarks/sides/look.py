"""What an operator's looks cost: the whole of ``claimbus doctor``, and the groups of dead letters."""

import time
from statistics import median
from typing import Final

from benchmarks.product import settings
from benchmarks.side import Delivering, Outcome, Stopwatch, play
from claimbus.cli.diagnosis import diagnose
from claimbus.cli.wiring import Wiring
from claimbus.database import letters
from claimbus.database.letters import Filter

LOOKS: Final = 3
"""Times each is looked at; the median counts."""


async def look(order: Delivering) -> Outcome:
    configured, watch = settings(order), Stopwatch()
    doctor, groups = list[float](), list[float]()
    async with Wiring(configured) as wiring:
        database = wiring.database()
        for _ in range(LOOKS):
            begun = time.monotonic()
            await diagnose(configured)
            doctor.append(time.monotonic() - begun)
            begun = time.monotonic()
            await database.read(lambda sql: letters.groups(sql, Filter()))
            groups.append(time.monotonic() - begun)
    return watch.outcome(LOOKS, doctor_ms=median(doctor) * 1000, groups_ms=median(groups) * 1000)


if __name__ == "__main__":
    play(Delivering, look)
