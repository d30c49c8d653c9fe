"""What the outage system says: snapshots into a directory, and what must come of them."""

import csv
import os
import random
import time
from collections import Counter
from datetime import date
from pathlib import Path

from claimbus.cli.demo.expectation import Owner, write_owners
from claimbus.cli.demo.make_sample import FEED_COLUMNS
from tests.chaos.ledger import Entry, Ledger

OUTAGES = 15
CHANGED = 4
"""So many outages have another power in each snapshot than in the one before."""

EVERY = 0.5
"""Seconds between two snapshots."""


class Feed:
    """A snapshot a call. That it lies there is the publisher's receipt: a change once seen is never lost.

    An outage's events are numbered by its changes, and their IDs tell both; the bodies are the product's.
    """

    def __init__(self, directory: Path, participants: tuple[str, ...], source: str, seed: int) -> None:
        self.snapshots = directory / "snapshots"
        self.snapshots.mkdir()
        self.owners = directory / "owners.csv"
        self._source = source
        self._ledger = Ledger(directory / "seen.jsonl")
        self._chance = random.Random(f"{seed}/feed")
        self._power = {f"F{number}": 1 for number in range(OUTAGES)}
        self._owners = {mrid: self._chance.choice(participants) for mrid in self._power}
        self._sequences: Counter[str] = Counter()
        self._count = 0
        self._begin = time.time() - 86_400
        write_owners(
            [
                Owner("An owner", participant, f"{mrid}_UNIT 1", date(2020, 1, 1), None)
                for mrid, participant in self._owners.items()
            ],
            self.owners,
        )

    def write(self) -> None:
        """Write the next snapshot, whole at once, and note what it changes."""
        changed = self._chance.sample(sorted(self._power), CHANGED) if self._count else list(self._power)
        for mrid in changed:
            self._power[mrid] += 1
        self._count += 1
        file = self.snapshots / f"{self._count:05}.csv"
        hidden = file.with_suffix(".new")
        with hidden.open("w", newline="") as sheet:
            lines = csv.writer(sheet)
            lines.writerow(FEED_COLUMNS[1:])
            for mrid, power in self._power.items():
                resource = f"{mrid}_UNIT 1"
                facts = ("FORCED", "PLANT_TROUBLE", "OUT", "2026-03-05 06:00", "2036-03-05 06:00")
                lines.writerow([mrid, resource, resource, *facts, power, 5000, 4000])
        written = self._begin + 2 * self._count  # snapshots that are seconds apart, and left alone since
        os.utime(hidden, (written, written))
        first = self._count == 1
        for mrid in changed:
            self._sequences[mrid] += 1
            self._ledger.write(
                Entry(
                    source=self._source,
                    id=f"{mrid}-{self._sequences[mrid]}",
                    type=f"oms.resource-outage.{'created' if first else 'changed'}",
                    audience=(self._owners[mrid],),
                    key=mrid,
                    sequence=self._sequences[mrid],
                    sha256=None,
                    at=time.time(),
                )
            )
        hidden.rename(file)
