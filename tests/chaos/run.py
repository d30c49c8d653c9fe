"""Runs of faults in a house: a steady load, the injuries, the settling, the verdict."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos import report
from tests.chaos.fault import Fault, NotRunError, Row
from tests.chaos.house import House
from tests.chaos.judge import Outcome, recovery
from tests.chaos.servers import Servers

BETWEEN = (0.3, 1.5)
"""Seconds of health before an injury, at random."""

SHOWN = 3
"""So many of what was lost or leaked are named in the row."""

Progress = Callable[[Fault, str], None]


async def run_faults(
    faults: Sequence[Fault],
    servers: Servers,
    directory: Path,
    *,
    seed: int,
    times: int | None,
    rate: float,
    progress: Progress,
) -> list[Row]:
    """Run faults, one after the other, in one house in an empty directory; ``times`` overrides their own.

    Never raises for what it finds. The last of the rows is that of the first fault that did not go well:
    nobody knows what the house is like after it.
    """
    rows: list[Row] = []
    fault = faults[0]
    try:
        async with House.open(servers, directory, faults, seed=seed, rate=rate) as house:
            for fault in faults:
                rows.append(await _run(house, fault, times or fault.times, progress))
                progress(fault, report.outcome(rows[-1]))
                if not rows[-1].harmless:
                    break
    except NotRunError as why:
        rows.append(Row(name=fault.name, what=fault.what, not_run=str(why)))
    except Exception as error:  # noqa: BLE001 - the other faults are to run nevertheless
        rows.append(Row(name=fault.name, what=fault.what, failed=f"{type(error).__name__}: {error}"))
    return rows


async def _run(house: House, fault: Fault, times: int, progress: Progress) -> Row:
    chance, mended = random.Random(f"{house.seed}/{fault.name}"), list[float]()
    await house.begin(fault)
    for number in range(1, times + 1):
        books = house.notes.read()
        progress(fault, f"injection {number} of {times}, {len(books.ledger):,} events so far")
        await asyncio.sleep(chance.uniform(*BETWEEN))
        await fault.inject(house, chance)
        mended.append(time.time())
    await house.published()
    await house.end()
    progress(fault, f"settling, {len(house.notes.read().ledger):,} events")
    outcome = await house.settle(fault.patience)
    if dead := house.processes.dead():
        house.remark(f"ended by themselves: {', '.join(dead)}")
    return _row(house, fault, outcome, times, max(recovery(house.notes.books, moment) for moment in mended))


def _row(house: House, fault: Fault, outcome: Outcome, times: int, recovery_s: float) -> Row:
    for what in (outcome.lost, outcome.leaked, outcome.disordered, outcome.bodiless):
        for one in what[:SHOWN]:
            house.remark(str(one))
    return Row(
        name=fault.name,
        what=fault.what,
        injected=times,
        events=outcome.events,
        deliveries=outcome.expected,
        lost=len(outcome.lost),
        leaked=len(outcome.leaked),
        duplicates=outcome.duplicates,
        disordered=len(outcome.disordered),
        bodiless=len(outcome.bodiless),
        forgotten=outcome.forgotten,
        letters=outcome.letters,
        recovery_s=recovery_s,
        remarks=tuple(house.remarks),
    )
