"""Dead letters: recorded with their bodies, grouped, replayed beside a plain publish, in one run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import chart
from benchmarks.bodies import file_of_bodies
from benchmarks.report import Report, Sheet, Target
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

    def report(self) -> Report:
        """Return all that was found."""
        steps = [
            (
                step,
                round(_rate(outcome)),
                round(outcome.cpu_seconds / outcome.count * 1e6),
                round((outcome.grown_bytes or 0) / _MIB, 1),
            )
            for step, outcome in self.outcomes.items()
            if step in ("record", "publish", "replay")
        ]
        looks = list(self.outcomes["look"].settings.items())
        document = self.document()
        targets = [
            Target("letters recorded a second", 3000, document["recorded_per_second"]),
            Target("groups, the slowest, ms", 300, max(float(ms) for _, ms in looks), at_most=True),
            Target("replay ÷ publish", 0.7, document["ratios"]["replay_vs_publish"]),
            *(
                Target(f"memory of {step}, MiB", 100, mib, at_most=True)
                for step, mib in document["grown_mib"].items()
            ),
        ]
        bars = [chart.Bar(step, rate) for step, rate, *_ in steps]
        title = f"{self.letters:,} dead letters, bodies of {self.size:,} bytes"
        return Report(
            name="letters",
            sheets=(
                Sheet(title, ("step", "letters/s", "CPU µs", "memory grew by MiB"), steps),
                Sheet("the slowest of five looks", ("groups by", "ms"), looks),
            ),
            chart=chart.bars("Dead letters beside a plain publish", "a second", bars),
            targets=targets,
            document=document,
        )

    def document(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
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
