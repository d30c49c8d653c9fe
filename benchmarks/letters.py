"""Dead letters: recorded with their bodies, grouped, replayed beside a plain publish, in one run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.bodies import file_of_bodies
from benchmarks.runner import Progress, run_side
from benchmarks.servers import room
from benchmarks.side import Keeping, Outcome

STEPS: Final = ("fill", "record", "look", "publish", "replay")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Keeper:
    """The outcome of each step, with so many letters of ``size`` bytes each."""

    letters: int
    size: int
    outcomes: Mapping[str, Outcome]

    def table(self) -> Table:
        """Return it for a terminal."""
        table = Table(
            title=f"{self.letters:,} dead letters, bodies of {self.size:,} bytes", title_justify="left"
        )
        table.add_column("step")
        for heading in ("letters/s", "CPU µs", "memory grew by MiB"):
            table.add_column(heading, justify="right")
        for step in ("record", "publish", "replay"):
            outcome = self.outcomes[step]
            grown = (outcome.grown_bytes or 0) / _MIB
            cpu = outcome.cpu_seconds / outcome.count * 1e6
            table.add_row(step, f"{_rate(outcome):,.0f}", f"{cpu:,.0f}", f"{grown:.1f}")
        for by, milliseconds in self.outcomes["look"].settings.items():
            table.add_row(f"groups by {by}", f"{milliseconds} ms", "", "")
        return table

    def document(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "name": "letters",
            "letters": self.letters,
            "bytes": self.size,
            "ratios": {
                "replay_vs_publish": round(
                    _rate(self.outcomes["replay"]) / _rate(self.outcomes["publish"]), 3
                )
            },
            "recorded_per_second": round(_rate(self.outcomes["record"])),
            "groups_ms": self.outcomes["look"].settings,
            "making_the_job_ms": self.outcomes["replay"].settings["making_the_job_ms"],
            "grown_mib": {
                step: round((self.outcomes[step].grown_bytes or 0) / _MIB, 1) for step in ("record", "replay")
            },
        }


def keep(*, letters: int, size: int, endpoints: int, window: int, progress: Progress) -> Keeper:
    """Take so many letters through all steps, on servers' rooms of their own."""
    with tempfile.TemporaryDirectory() as folder, file_of_bodies(size) as bodies, room() as servers:
        order = Keeping(
            step="",
            letters=letters,
            endpoints=endpoints,
            bodies=str(bodies),
            size=size,
            window=window,
            key_prefix=servers.key_prefix,
            database=str(Path(folder) / "claimbus.db"),
        )
        outcomes = {}
        for step in STEPS:
            progress(step)
            outcomes[step] = run_side("letters", replace(order, step=step), servers)
    return Keeper(letters, size, outcomes)


def _rate(outcome: Outcome) -> float:
    return outcome.count / outcome.seconds
