"""Runs sides, each a process of its own, round after round: A, B, C, A, B, C."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.servers import BenchmarkError, Room
from benchmarks.side import Order, Outcome

PROJECT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 600

Progress = Callable[[str], None]
"""Told what is beginning."""


def run_side(name: str, order: Order, room: Room, environment: Mapping[str, str] | None = None) -> Outcome:
    """Give a side its order and return its outcome. Raises BenchmarkError with what it said when it fails."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            done = subprocess.run(
                _command(name, order),
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


class Running:
    """A side that works until it is told to end; ``began`` is what it said once it was ready."""

    def __init__(self, process: subprocess.Popen[str], began: dict[str, float]) -> None:
        self.began = began
        self.pid = process.pid
        self._process = process

    def end(self) -> Outcome:
        """Tell it to end, and return its outcome."""
        said, _ = self._process.communicate(timeout=PATIENCE_S)
        return Outcome(**json.loads(said.splitlines()[-1]))


@contextmanager
def running_side(name: str, order: Order, room: Room) -> Iterator[Running]:
    """Run a side until the end of the block, or until `Running.end`.

    Raises BenchmarkError with what it said when it fails.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            _command(name, order),
            cwd=PROJECT,
            env=room.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None  # it was asked for
        try:
            yield Running(process, json.loads(process.stdout.readline()))
        except (ValueError, IndexError) as failed:  # it ended without a word
            log.seek(0)
            raise BenchmarkError(f"{name} failed:\n{log.read()[-8000:]}") from failed
        finally:
            if process.poll() is None:
                process.terminate()


def _command(name: str, order: Order) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.sides.{name}", json.dumps(asdict(order))]


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
