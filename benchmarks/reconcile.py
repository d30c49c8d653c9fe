"""Reconcile: how long an account of the journal takes, by its entries and by the endpoints of each."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import chart
from benchmarks.report import Report, Sheet
from benchmarks.runner import Progress, run_side
from benchmarks.servers import BenchmarkError, room
from benchmarks.side import Outcome, Reconciling


def reconcile(*, deliveries: int, endpoints: Sequence[int], window: int, progress: Progress) -> Report:
    """Account for so many deliveries, made by events to each of these numbers of endpoints."""
    found = {}
    for number in endpoints:
        progress(f"{number:,} endpoints")
        found[number] = _accounted(max(1, deliveries // number), number, window)
    rows = [
        (
            f"{number:,}",
            outcome.count // number,
            outcome.count,
            round(outcome.seconds, 1),
            round(outcome.cpu_seconds, 1),
            round(outcome.cpu_seconds / outcome.count * 1e6, 1),
            round((outcome.grown_bytes or 0) / (1 << 20), 1),
        )
        for number, outcome in found.items()
    ]
    columns = ("endpoints", "entries", "deliveries", "s", "own CPU s", "µs a delivery", "memory grew by MiB")
    bars = [chart.Bar(f"{number:,} endpoints", one.count / one.seconds) for number, one in found.items()]
    return Report(
        name="reconcile",
        sheets=[Sheet("an account of the journal, everything delivered", columns, rows)],
        chart=chart.bars("Reconcile", "deliveries a second", bars),
        document={"seconds": {number: one.seconds for number, one in found.items()}},
    )


def _accounted(entries: int, endpoints: int, window: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, room() as servers:
        order = Reconciling(
            step="fill",
            entries=entries,
            endpoints=endpoints,
            window=window,
            key_prefix=servers.key_prefix,
            database=str(Path(folder) / "claimbus.db"),
        )
        run_side("reconcile", order, servers)
        servers.purge(servers.queues("endpoint."))
        outcome = run_side("reconcile", replace(order, step="reconcile"), servers)
    if outcome.settings["settled"] != "True" or outcome.count != entries * endpoints:
        raise BenchmarkError(f"void: {outcome.count} of {entries * endpoints} deliveries were accounted for")
    return outcome
