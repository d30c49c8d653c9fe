"""What can be seen of a run while it runs: above all the receivers' record, followed as it grows."""

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from claimbus.cli.demo.receipt import Receipt, receipt_of
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.demo.verdict import fault_seen

if TYPE_CHECKING:
    from claimbus.cli.demo.expectation import Identity


class Sight:
    """``received``: the events that each participant accepted, of those that are due to it."""

    def __init__(self, scenario: Scenario, record: Path) -> None:
        self._due = scenario.expectation.due
        self._faults = scenario.plan.faults
        self._record = record.open("rb")
        self._rest = b""
        self._requests: dict[str, list[Receipt]] = defaultdict(list)
        self.requests = 0
        self.received: dict[str, set[Identity]] = {participant: set() for participant in self._due}

    def look(self) -> None:
        """Read what the receivers wrote since the last look."""
        *lines, self._rest = (self._rest + self._record.read()).split(b"\n")
        self.requests += len(lines)
        for receipt in map(receipt_of, map(json.loads, lines)):
            if receipt.accepted and receipt.identity in self._due[receipt.participant]:
                self.received[receipt.participant].add(receipt.identity)
            if receipt.participant in self._faults:
                self._requests[receipt.participant].append(receipt)

    def faults_seen(self) -> dict[str, str]:
        """Return how the planned faults have shown so far, by participant."""
        evidence = {name: fault_seen(fault, self._requests[name]) for name, fault in self._faults.items()}
        return {name: found for name, found in evidence.items() if found}

    def close(self) -> None:
        """Close the record."""
        self._record.close()
