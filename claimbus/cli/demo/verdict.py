"""The demo's verdict: what should have happened against what the receivers themselves wrote down.

Of the product's own records only those are asked that say why something did not arrive: dead letters,
superseded statuses, held endpoints.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from claimbus.cli.demo.expectation import Expectation, Identity
from claimbus.cli.demo.plan import Fault, Plan
from claimbus.cli.demo.receipt import Receipt, identity_of

Row = Mapping[str, Any]
"""One of the product's records as JSON: ``endpoint`` (its ID), ``type``, ``partitionkey``, ``sequence``."""

Pair = tuple[str, Identity]
"""A delivery: a participant, which has one endpoint, and an event."""


class Finding(NamedTuple):
    """Something that must not be, and why it is."""

    participant: str
    event: Identity
    reason: str


class FaultSeen(NamedTuple):
    """A planned fault, and how it showed in its receiver's record; without ``evidence`` it did not."""

    participant: str
    fault: Fault
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the demo went.

    ``due`` is how many events were to be published. Each of the ``expected`` deliveries was ``delivered``,
    ``superseded``, given up (``causes`` counts these by cause) or ``lost``. ``leaked``: what somebody
    received that was not for them, or that names another. ``disordered``: what came too late to an ordered
    endpoint.
    """

    published: int
    due: int
    expected: int
    delivered: int
    duplicates: int
    superseded: int
    causes: Mapping[str, int]
    held: tuple[str, ...]
    lost: tuple[Finding, ...]
    leaked: tuple[Finding, ...]
    disordered: tuple[Finding, ...]
    faults: tuple[FaultSeen, ...]
    seconds: float

    @property
    def dead(self) -> int:
        """Deliveries that are dead letters with a cause."""
        return sum(self.causes.values())

    @property
    def ok(self) -> bool:
        """Tell whether the demo passed: nothing is wrong, and what was to go wrong did."""
        wrong = self.lost or self.leaked or self.held or self.disordered
        return self.published == self.due and not wrong and all(fault.evidence for fault in self.faults)

    def as_json(self) -> dict[str, float]:
        """Return the figures of the demo's last line."""
        return {
            "published": self.published,
            "expected": self.expected,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "superseded": self.superseded,
            "dead": self.dead,
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
    to participants. ``letters`` (with ``cause``) and ``superseded`` are its records, ``held`` names the
    endpoints that it still holds.
    """
    record = sorted(receipts, key=lambda receipt: receipt.at)
    evidence = _Evidence(plan, record, endpoints, letters, superseded)
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
        causes=Counter(cause for fate, cause in fates.values() if fate == "dead"),
        held=tuple(held),
        lost=tuple(Finding(*pair, reason) for pair, (fate, reason) in fates.items() if fate == "lost"),
        leaked=tuple(_leaks(expectation, record, endpoints)),
        disordered=tuple(_disordered(plan, evidence.taken)),
        faults=tuple(
            FaultSeen(participant, fault, fault_seen(fault, evidence.by_participant[participant]))
            for participant, fault in plan.faults.items()
        ),
        seconds=seconds,
    )


class _Evidence:
    """What is known of each delivery."""

    def __init__(
        self,
        plan: Plan,
        record: Iterable[Receipt],
        endpoints: Mapping[str, str],
        letters: Iterable[Row],
        superseded: Iterable[Row],
    ) -> None:
        self.by_participant: dict[str, list[Receipt]] = defaultdict(list)
        self.taken: dict[Pair, list[Receipt]] = defaultdict(list)
        self._requests: dict[Pair, list[Receipt]] = defaultdict(list)
        self._newest: Counter[tuple[str, str]] = Counter()
        self._causes = {pair_of(row, endpoints): str(row["cause"] or "") for row in letters}
        self._skipped = {pair_of(row, endpoints) for row in superseded}
        self._latest_only = {participant.id for participant in plan.participants if participant.latest_only}
        for receipt in record:
            pair = receipt.participant, receipt.identity
            self.by_participant[receipt.participant].append(receipt)
            self._requests[pair].append(receipt)
            if receipt.accepted and _speaks_of(receipt):
                self.taken[pair].append(receipt)
                if receipt.identity.type.startswith("oms."):
                    outage = receipt.participant, receipt.identity.about
                    self._newest[outage] = max(self._newest[outage], receipt.identity.number or 0)

    def fate(self, pair: Pair) -> tuple[str, str]:
        """Return ``delivered``, ``superseded``, ``dead`` with its cause, or ``lost`` with the reason."""
        if pair in self.taken:
            return "delivered", ""
        if self._causes.get(pair):
            return "dead", self._causes[pair]
        if pair in self._skipped and self._may_skip(*pair):
            return "superseded", ""
        return "lost", self._why_lost(pair)

    def _may_skip(self, participant: str, event: Identity) -> bool:
        newer = self._newest[participant, event.about] > (event.number or 0)
        return newer and participant in self._latest_only

    def _why_lost(self, pair: Pair) -> str:
        if pair in self._causes:
            return "its dead letter has no cause"
        if pair in self._skipped:
            return "superseded, without a newer status or where none may be skipped"
        requests = self._requests.get(pair, [])
        if not requests:
            return "never came"
        return f"came {len(requests)} times: " + ", ".join(sorted({_flaw(receipt) for receipt in requests}))


def pair_of(row: Row, endpoints: Mapping[str, str]) -> Pair:
    """Return which delivery a record is about."""
    participant = endpoints.get(row["endpoint"], row["endpoint"])
    return participant, identity_of(row["type"] or "", row["partitionkey"], row["sequence"])


def _speaks_of(receipt: Receipt) -> bool:
    """Tell whether the body names the outage or the trade date that the headers do."""
    return receipt.identity.about.encode() in receipt.body


def _flaw(receipt: Receipt) -> str:
    if not receipt.verified:
        return "wrong signature"
    return "body of something else" if receipt.accepted else f"answered {receipt.answered}"


def _leaks(
    expectation: Expectation, record: Iterable[Receipt], endpoints: Mapping[str, str]
) -> Iterator[Finding]:
    names = expectation.due.keys()
    first_ids: dict[Identity, str] = {}
    for receipt in record:
        participant, event = receipt.participant, receipt.identity
        named = receipt.names_another(names)
        if named:
            yield Finding(participant, event, f"names {named}")
        if event.type.startswith("system.endpoint."):
            if endpoints.get(event.about) != participant:
                yield Finding(participant, event, "is about another's endpoint")
        elif event not in expectation.audience:
            yield Finding(participant, event, "was not to be published")
        elif event not in expectation.due[participant]:
            entitled = expectation.audience[event]
            known = entitled is None or participant in entitled
            yield Finding(
                participant, event, "was not subscribed to" if known else "is not for this participant"
            )
        elif first_ids.setdefault(event, receipt.webhook_id) != receipt.webhook_id:
            yield Finding(participant, event, "was published twice: it came under two webhook IDs")


def _disordered(plan: Plan, taken: Mapping[Pair, Sequence[Receipt]]) -> Iterator[Finding]:
    ordered = {participant.id for participant in plan.participants if participant.ordered}
    newest: Counter[tuple[str, str]] = Counter()
    firsts = (receipts[0] for (participant, _), receipts in taken.items() if participant in ordered)
    for receipt in sorted(firsts, key=lambda receipt: receipt.at):
        event = receipt.identity
        outage = receipt.participant, event.about
        if event.type.startswith("oms."):
            if (event.number or 0) < newest[outage]:
                yield Finding(receipt.participant, event, f"came after sequence {newest[outage]}")
            newest[outage] = max(newest[outage], event.number or 0)


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
