"""The command line: ``python -m tests.chaos``, by ``./dev chaos``.

Real processes under a load of events with known audiences, one fault after the other, and a judge who knows
only what was acknowledged to the publisher and what each receiver wrote down. Exits with 1 if anything was
lost, leaked or out of order, if a dead letter had no body, or if a run failed.
"""

import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from claimbus.cli.services import ServicesError, debian, install_missing_servers, private_directory
from tests.chaos import report
from tests.chaos.fault import Fault, NotRunError, Row
from tests.chaos.faults import FAULTS
from tests.chaos.premises import faketime
from tests.chaos.run import run_faults
from tests.chaos.servers import open_servers

STATE: Final = Path(__file__).parents[2] / ".claimbus"
KEPT: Final = STATE / "chaos-kept"
"""The logs and notes of the runs that found something."""

RATE, SHORT_RATE = 100.0, 60.0
"""Events a second."""

Say = Callable[[str], None]


def main(
    *,
    short: Annotated[bool, typer.Option("--short", help="A choice of faults, each once: minutes.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this fault; repeat it.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the faults.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same events, moments and choices.")
    ] = None,
    times: Annotated[int | None, typer.Option(min=1, help="How often each fault is injected.")] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Events a second.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this file, too; into its section, if it has one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sums as the last line, too.")] = False,
) -> None:
    """Do harm to a running bus, and see whether anything is lost."""
    chosen = _chosen(short=short, only=only)
    if list_:
        for fault in chosen:
            print(f"{fault.name:28} {fault.kind:18} {fault.what}")
        return
    seed = random.randrange(1_000_000) if seed is None else seed
    rate = rate or (SHORT_RATE if short else RATE)
    with _live() as say:
        rows = asyncio.run(
            _until_told(
                _run_all(
                    chosen, share=short, seed=seed, times=times or (1 if short else None), rate=rate, say=say
                )
            )
        )
    console = Console(width=None if sys.stdout.isatty() else 230)
    console.print(report.table(rows))
    print(f"{report.summary(rows)}\nseed {seed}", flush=True)
    if markdown is not None:
        command = _command(short=short, only=only or (), times=times, rate=rate, seed=seed)
        report.write(rows, command, markdown)
    if as_json:
        print(report.as_json(rows))
    raise typer.Exit(0 if all(row.harmless for row in rows) else 1)


def _command(*, short: bool, only: Sequence[str], times: int | None, rate: float, seed: int) -> str:
    """The command line that repeats a run."""
    words = ["./dev chaos", *["--short"] * short, *(f"--only {name}" for name in only)]
    words += [] if times is None else [f"--times {times}"]
    return " ".join([*words, f"--rate {rate:g}", f"--seed {seed}"])


def _chosen(*, short: bool, only: Sequence[str] | None) -> list[Fault]:
    if unknown := set(only or ()) - {fault.name for fault in FAULTS}:
        raise typer.BadParameter(f"no such fault: {', '.join(sorted(unknown))}; --list shows all")
    return [fault for fault in FAULTS if (fault.name in only if only else fault.short or not short)]


async def _run_all(
    chosen: Sequence[Fault], *, share: bool, seed: int, times: int | None, rate: float, say: Say
) -> list[Row]:
    """Run the faults; the rows come in their order. ``share``: a house for all that can live in the same."""
    install_missing_servers(say)
    if any(fault.faked_clock for fault in chosen) and faketime() is None and debian.can_install():
        debian.install(["faketime"], say)
    rows: dict[str, Row] = {}
    with private_directory(STATE / "chaos") as directory:
        for kind, several in groupby(sorted(chosen, key=lambda fault: fault.kind), lambda fault: fault.kind):
            left = list(several)
            while left:
                place = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=directory))
                houses = _houses(left) if share else [[fault] for fault in left]
                for row in await _run_kind(kind, houses, place, seed=seed, times=times, rate=rate, say=say):
                    rows[row.name] = row
                left = [fault for fault in left if fault.name not in rows]
    return [rows[fault.name] for fault in chosen]


def _houses(faults: Sequence[Fault]) -> list[list[Fault]]:
    """Return the faults by the houses that they can share."""
    houses: defaultdict[object, list[Fault]] = defaultdict(list)
    for fault in faults:
        houses[fault.settings, fault.database, fault.disk, fault.faked_clock].append(fault)
    return list(houses.values())


async def _run_kind(
    kind: str,
    houses: Sequence[Sequence[Fault]],
    directory: Path,
    *,
    seed: int,
    times: int | None,
    rate: float,
    say: Say,
) -> list[Row]:
    """Run faults on one set of servers, up to one after which nobody knows what these are like."""
    rows: list[Row] = []
    servers_place = directory / "servers"
    servers_place.mkdir()
    try:
        async with open_servers(kind, servers_place, say) as servers:
            for number, faults in enumerate(houses):
                place = directory / f"house-{number}"
                place.mkdir()
                found = await run_faults(
                    faults,
                    servers,
                    place,
                    seed=seed,
                    times=times,
                    rate=rate,
                    progress=lambda fault, step: say(f"{fault.name}: {step}"),
                )
                rows += found
                if not found[-1].harmless:
                    kept = KEPT / found[-1].name
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(place, kept, ignore=shutil.ignore_patterns("*.db*"))
                    say(f"{found[-1].name}: its logs and notes are in {kept}")
                    break
                shutil.rmtree(place, ignore_errors=True)
    except NotRunError as why:
        return [Row(name=fault.name, what=fault.what, not_run=str(why)) for fault in chain(*houses)]
    except ServicesError as broken:
        done = {row.name for row in rows}
        rows += [
            Row(name=fault.name, what=fault.what, failed=str(broken))
            for fault in chain(*houses)
            if fault.name not in done
        ]
    return rows


async def _until_told(work: Coroutine[None, None, list[Row]]) -> list[Row]:
    """Run it, and end it in order when this process is told to."""
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise typer.Exit(130) from None


@contextmanager
def _live() -> Iterator[Say]:
    """Give what shows the last word of progress: in one live line, or a line each where that cannot be."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    with console.status("") as status:
        yield status.update


if __name__ == "__main__":
    typer.run(main)
