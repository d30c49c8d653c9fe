"""Reports with so many outages that a watcher can be killed while it publishes a snapshot's changes."""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

from claimbus.cli.demo.make_sample import FEED_COLUMNS

FIRST = date(2026, 3, 5)


def write_report(path: Path, *, days: int, outages: int, chance: random.Random) -> Path:
    """Each day a third of the outages have another power than the day before, and some are missing."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(FEED_COLUMNS)
        for day in (FIRST + timedelta(days=number) for number in range(days)):
            for mrid in range(1, outages + 1):
                if chance.random() < 0.05:
                    continue
                resource = f"HILL_{mrid % 97}_UNIT 1"
                times = [f"{FIRST} 06:00", f"{FIRST + timedelta(days=9)} 06:00"]
                power = 1 + day.day * (chance.random() < 1 / 3)
                lines.writerow(
                    [day, mrid, resource, resource, "FORCED", "PLANT_TROUBLE", "OUT", *times, power, 50, 40]
                )
    return path
