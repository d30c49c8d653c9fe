"""Large bodies: what they cost in memory, in the producer and in the worker."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks import limit
from benchmarks.bodies import TYPE
from benchmarks.deliver import EXCHANGE, check_arrived
from benchmarks.runner import Progress, run_side
from benchmarks.servers import room
from benchmarks.side import Delivering, Outcome, Publishing
from benchmarks.sink import running_sink

ALLOWED_BYTES: Final = 64 << 20
"""How much more memory a process may take for bodies of 16 MiB."""

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Growth:
    """How far memory grew over what it was before the first body, by process."""

    size: int
    outcomes: Mapping[str, Outcome]

    def table(self) -> Table:
        """Return it for a terminal."""
        table = Table(title=f"large, bodies of {self.size // _MIB} MiB", title_justify="left")
        table.add_column("process")
        for heading in ("bodies", "MiB/s", "memory grew by MiB", "allowed"):
            table.add_column(heading, justify="right")
        for process, outcome in self.outcomes.items():
            rate = outcome.count * self.size / outcome.seconds / _MIB
            grown = _mebibytes(outcome)
            table.add_row(
                process, str(outcome.count), f"{rate:.0f}", f"{grown:.1f}", f"{ALLOWED_BYTES // _MIB}"
            )
        return table

    def document(self) -> dict[str, Any]:
        """Return it for a program; a ratio is memory taken to memory allowed."""
        grown = {process: _mebibytes(outcome) for process, outcome in self.outcomes.items()}
        ratios = {
            f"{process}_of_allowed": round(mib * _MIB / ALLOWED_BYTES, 3) for process, mib in grown.items()
        }
        return {"name": "large", "bytes": self.size, "ratios": ratios, "grown_mib": grown}


def large(*, size: int, events: int, endpoints: int, prefetch: int, progress: Progress) -> Growth:
    """Publish ``events`` bodies of ``size`` bytes to all endpoints, then deliver them."""
    with tempfile.TemporaryDirectory() as folder, room() as servers:
        body = Path(folder) / "body"
        body.write_bytes(os.urandom(size))
        with running_sink(limit.compiled("sink", Path(folder)), paths=endpoints) as sink:
            delivering = Delivering(
                sink=sink.url,
                authority=None,
                endpoints=endpoints,
                events=events,
                bodies=str(body),
                size=size,
                prefetch=prefetch,
                key_prefix=servers.key_prefix,
                database=str(Path(folder) / "claimbus.db"),
            )
            publishing = Publishing(
                exchange=EXCHANGE,
                routing_key=f"{TYPE}.all",
                type=TYPE,
                bodies=str(body),
                size=size,
                events=events,
                seconds=600,
                window=events,
                key_prefix=servers.key_prefix,
            )
            run_side("provision_claimbus", delivering, servers)
            progress("publishing")
            producer = run_side("publish_large", publishing, servers)
            progress("delivering")
            worker = run_side("deliver_claimbus", delivering, servers)
            check_arrived("deliver_claimbus", delivering, sink, servers)
    return Growth(size, {"producer": producer, "worker": worker})


def _mebibytes(outcome: Outcome) -> float:
    return round((outcome.grown_bytes or 0) / _MIB, 1)
