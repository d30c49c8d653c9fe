"""Give every decoder bytes that nobody meant, guided by the coverage that they reach (atheris, libFuzzer)."""

import json
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.fuzz.seeds import SEEDS

_FAR: Final = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+)")
"""libFuzzer's word of how many inputs there were, and how many places of the code they reached."""
LONGEST: Final = 1 << 14
"""Bytes of an input; the decoders' own limits are tested by name."""


class Outcome(NamedTuple):
    """What became of a target. ``edges`` is how many places of the code were reached."""

    target: str
    inputs: int
    edges: int
    finding: str | None


def main(
    targets: Annotated[list[str] | None, typer.Argument(help="Only these targets.")] = None,
    *,
    inputs: Annotated[int, typer.Option(min=1, help="Inputs, over all targets.")] = 1_000_000,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same inputs.")] = 1,
    findings: Annotated[Path, typer.Option(help="Where the bytes of a finding are left.")] = Path("findings"),
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as the last line, too.")] = False,
) -> None:
    """Exit 1 when a decoder fails with anything but a clear error of the house's own."""
    chosen = targets or list(SEEDS)
    if unknown := sorted(set(chosen) - set(SEEDS)):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are: {', '.join(SEEDS)}")
    each = -(-inputs // len(chosen))
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, TemporaryDirectory() as folder:
        outcomes = []
        for target in chosen:
            task = progress.add_task(target, total=each)
            for outcome in _fuzz(target, each, seed, Path(folder) / target, findings):
                progress.update(task, completed=outcome.inputs)
            outcomes.append(outcome)
    _print(outcomes, as_json=as_json)
    if any(one.finding for one in outcomes):
        raise typer.Exit(1)


def _fuzz(target: str, inputs: int, seed: int, folder: Path, findings: Path) -> Iterator[Outcome]:
    """Run a target; yield how far it is whenever that is known, and last what became of it."""
    corpus = folder / "corpus"
    options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=20"]
    command = [sys.executable, "-m", "tests.fuzz.child", target, str(corpus), *options]
    outcome = Outcome(target, 0, 0, None)
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            if line.strip().endswith("Uncaught Python exception: ==="):
                tail.clear()
            tail.append(line)
            if far := _FAR.match(line):
                outcome = outcome._replace(inputs=int(far[1]), edges=int(far[2]))
                yield outcome
    if process.returncode:
        kept = [shutil.copy(found, _made(findings)) for found in folder.glob("*-*")]
        names = ", ".join(map(str, kept)) or "no bytes were left"
        outcome = outcome._replace(finding=f"{names}\n{''.join(tail)}")
    elif outcome.inputs < inputs:
        outcome = outcome._replace(finding=f"ended after {outcome.inputs} of {inputs} inputs")
    yield outcome


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _print(outcomes: list[Outcome], *, as_json: bool) -> None:
    table = Table("target", "inputs", "places reached", "finding")
    for one in outcomes:
        table.add_row(
            one.target, f"{one.inputs:,}", str(one.edges), (one.finding or "none").partition("\n")[0]
        )
    Console(stderr=True).print(table)
    for one in outcomes:
        if one.finding:
            sys.stderr.write(f"\n{one.target}: {one.finding}\n")
    if as_json:
        found = sum(one.finding is not None for one in outcomes)
        inputs = sum(one.inputs for one in outcomes)
        print(json.dumps({"targets": len(outcomes), "inputs": inputs, "findings": found}))


if __name__ == "__main__":
    typer.run(main)
