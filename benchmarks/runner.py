"""Runs sides, each a process of its own, round after round: A, B, C, A, B, C."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.servers import BenchmarkError, Room
from benchmarks.side import Asking, Delivering, Keeping, Outcome, Publishing

PROJECT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 600

Progress = Callable[[str], None]
"""Told what is beginning."""


def run_side(
    name: str,
    order: Publishing | Delivering | Keeping | Asking,
    room: Room,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Give a side its order and return its outcome. Raises BenchmarkError with what it said when it fails."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-m", f"benchmarks.sides.{name}", json.dumps(asdict(order))],
                cwd=PROJECT,
                env=room.environment() | dict(environment or {}),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=PATIENCE_S,
                check=True,
            )
        except subprocess.SubprocessError as failed:
            log.seek(0)
            raise BenchmarkError(f"{name} failed:\n{log.read()[-8000:]}") from failed
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def interleaved(
    sides: Sequence[str], repeat: int, one_round: Callable[[str], Outcome], progress: Progress
) -> dict[str, list[Outcome]]:
    """Run every side once, then every side again; a slow minute of the machine then meets all of them."""
    outcomes: dict[str, list[Outcome]] = {side: [] for side in sides}
    for number in range(repeat):
        for side in sides:
            progress(f"round {number + 1} of {repeat}: {side}")
            outcomes[side].append(one_round(side))
    return outcomes
