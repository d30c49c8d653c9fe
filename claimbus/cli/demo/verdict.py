"""The demo's verdict: what should have happened against what the receivers themselves wrote down.

Of the product's own records only those are asked that say why something did not arrive: dead letters,
superseded statuses, held endpoints.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from claimbus.cli.demo.evidence import Evidence, Finding, Pair, Row, disordered, leaks
from claimbus.cli.demo.expectation import Expectation
from claimbus.cli.demo.plan import Fault, Plan
from claimbus.cli.demo.receipt import Receipt


class FaultSeen(NamedTuple):
    """A planned fault, and how it showed in its receiver's record; without ``evidence`` it did not."""

    participant: str
    fault: Fault
    evidence: str


class Relief(NamedTuple):
    """What the operator's part made of one group of dead letters.

    ``ready`` and ``unready`` are the preflight's word. ``replayed`` is how many were sent again, of which
    ``delivered`` came, and ``dead`` how many of the group are dead still.
    """

    group: str
    letters: int
    ready: int
    unready: int
    replayed: int
    delivered: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the demo went.

    ``due`` is how many events were to be published. Each of the ``expected`` deliveries is in the end
    ``delivered``, by a replay perhaps, ``superseded``, ``dead_after_replay`` or ``lost``. ``causes`` counts
    by cause those that were given up at first, and ``relief`` is what the operator made of these; empty when
    there was no operator. ``leaked``: what somebody received that was not for them, or that names another.
    ``disordered``: what came too late to an ordered endpoint.
    """

    published: int
    due: int
    expected: int
    delivered: int
    duplicates: int
    superseded: int
    causes: Mapping[str, int]
    relief: tuple[Relief, ...]
    dead_after_replay: int
    held: tuple[str, ...]
    lost: tuple[Finding, ...]
    leaked: tuple[Finding, ...]
    disordered: tuple[Finding, ...]
    faults: tuple[FaultSeen, ...]
    seconds: float

    @property
    def dead(self) -> int:
        """Deliveries that became dead letters with a cause, before any replay."""
        return sum(self.causes.values())

    @property
    def replayed(self) -> int:
        """Dead letters that the operator had sent again."""
        return sum(group.replayed for group in self.relief)

    @property
    def ok(self) -> bool:
        """Tell whether the demo passed: nothing is wrong, and what was to go wrong did and was mended."""
        wrong = self.lost or self.leaked or self.held or self.disordered
        left = self.relief and self.dead_after_replay
        seen = all(fault.evidence for fault in self.faults)
        return self.published == self.due and not wrong and not left and seen

    def as_json(self) -> dict[str, float]:
        """Return the figures of the demo's last line.

        ``expected`` is the sum of ``delivered``, ``superseded``, ``dead_after_replay`` and ``lost``; ``dead``
        counts what was given up before the replay.
        """
        return {
            "published": self.published,
            "expected": self.expected,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "superseded": self.superseded,
            "dead": self.dead,
            "replayed": self.replayed,
            "dead_after_replay": self.dead_after_replay,
            "held": len(self.held),
            "lost": len(self.lost),
            "leaked": len(self.leaked),
            "seconds": round(self.seconds, 1),
        }


def judge(
    plan: Plan,
    expectation: Expectation,
    receipts: Iterable[Receipt],
    *,
    published: int,
    endpoints: Mapping[str, str],
    letters: Iterable[Row],
    superseded: Iterable[Row],
    held: Iterable[str],
    seconds: float,
) -> Verdict:
    """Judge a run.

    ``published`` is how many events the product says that it published; ``endpoints`` maps its endpoint IDs
    to participants. ``letters``, in the order of recording, and ``superseded`` are its records, ``held``
    names the endpoints that it still holds.
    """
    record = sorted(receipts, key=lambda receipt: receipt.at)
    evidence = Evidence(plan, record, endpoints, letters, superseded)
    pairs = [(participant, event) for participant, events in expectation.due.items() for event in events]
    fates = {pair: evidence.fate(pair) for pair in sorted(pairs, key=str)}
    met = Counter(fate for fate, _ in fates.values())
    return Verdict(
        published=published,
        due=len(expectation.audience),
        expected=len(fates),
        delivered=met["delivered"],
        duplicates=sum(
            len(evidence.taken[pair]) - 1 for pair, (fate, _) in fates.items() if fate == "delivered"
        ),
        superseded=met["superseded"],
        causes=Counter(filter(None, map(evidence.cause, fates))),
        relief=tuple(_relief(evidence)),
        dead_after_replay=met["dead"],
        held=tuple(held),
        lost=tuple(Finding(*pair, reason) for pair, (fate, reason) in fates.items() if fate == "lost"),
        leaked=tuple(leaks(expectation, record, endpoints, evidence.replays)),
        disordered=tuple(disordered(plan, evidence.taken)),
        faults=tuple(
            FaultSeen(participant, fault, fault_seen(fault, evidence.by_participant[participant]))
            for participant, fault in plan.faults.items()
        ),
        seconds=seconds,
    )


def _relief(evidence: Evidence) -> Iterator[Relief]:
    """Yield the groups that an operator looked at, the largest first."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair, rows in evidence.letters.items():
        if rows[0].get("group"):
            groups[rows[0]["group"]].append(pair)
    for group, pairs in sorted(groups.items(), key=lambda item: -len(item[1])):
        unready = sum(bool(evidence.letters[pair][0]["unready"]) for pair in pairs)
        fates = [(pair in evidence.replays, evidence.fate(pair)[0]) for pair in pairs]
        yield Relief(
            group,
            letters=len(pairs),
            ready=len(pairs) - unready,
            unready=unready,
            replayed=sum(replayed for replayed, _ in fates),
            delivered=fates.count((True, "delivered")),
            dead=sum(fate == "dead" for _, fate in fates),
        )


def fault_seen(fault: Fault, receipts: Sequence[Receipt]) -> str:
    """Return how a planned fault shows in its receiver's record so far, in order; empty when it does not."""
    match fault.kind:
        case "down":
            first = {receipt.webhook_id: receipt for receipt in reversed(receipts)}
            missed = sum(receipt.attempt > 1 for receipt in first.values())
            return f"{missed} came at a later attempt" if missed else ""
        case "slow":
            slow = sum(receipt.accepted and receipt.delay >= fault.seconds for receipt in receipts)
            return f"{slow} answers took so long" if slow else ""
        case "failing":
            taken = {receipt.webhook_id for receipt in receipts if receipt.accepted}
            failed = {receipt.webhook_id for receipt in receipts if receipt.answered == "500"}
            return f"{len(failed)} got a 500, {len(failed & taken)} came again" if failed & taken else ""
        case "refusing":
            refused = {receipt.webhook_id for receipt in receipts if receipt.answered == "422"}
            return f"{len(refused)} got a 422" if refused else ""
