"""What is known of each delivery of a run, and what became of it: the grounds of the demo's verdict."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from claimbus.cli.demo.expectation import Expectation, Identity
from claimbus.cli.demo.plan import Plan
from claimbus.cli.demo.receipt import Receipt, identity_of

Row = Mapping[str, Any]
"""One of the product's records as JSON: ``endpoint`` (its ID), ``type``, ``partitionkey``, ``sequence``.

A dead letter has its ``cause`` and ``state`` besides, and what the operator made of it, if anything: its
``group``, why the preflight found it ``unready`` (empty when it did not), the ``replay`` that it was sent by.
"""

Pair = tuple[str, Identity]
"""A delivery: a participant, which has one endpoint, and an event."""


class Finding(NamedTuple):
    """Something that must not be, and why it is."""

    participant: str
    event: Identity
    reason: str


class Evidence:
    """Receipts and records by delivery. ``taken``: those receipts with which it was really received.

    ``letters`` has a delivery's dead letters in the order in which they were recorded, ``replays`` the replay
    that it was in.
    """

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
        self.letters: dict[Pair, list[Row]] = defaultdict(list)
        self.replays: dict[Pair, str] = {}
        self._requests: dict[Pair, list[Receipt]] = defaultdict(list)
        self._newest: Counter[tuple[str, str]] = Counter()
        self._skipped = {pair_of(row, endpoints) for row in superseded}
        self._latest_only = {participant.id for participant in plan.participants if participant.latest_only}
        for row in letters:
            pair = pair_of(row, endpoints)
            self.letters[pair].append(row)
            if row.get("replay"):
                self.replays[pair] = row["replay"]
        for receipt in record:
            pair = receipt.participant, receipt.identity
            self.by_participant[receipt.participant].append(receipt)
            self._requests[pair].append(receipt)
            if receipt.accepted and _speaks_of(receipt):
                self.taken[pair].append(receipt)
                if receipt.identity.type.startswith("oms."):
                    outage = receipt.participant, receipt.identity.about
                    self._newest[outage] = max(self._newest[outage], receipt.identity.number or 0)

    def cause(self, pair: Pair) -> str:
        """Return why a delivery was given up before any replay; empty when it was not, or for no cause."""
        if pair not in self.letters or any(receipt.replay is None for receipt in self.taken.get(pair, ())):
            return ""
        return self.letters[pair][0]["cause"] or ""

    def fate(self, pair: Pair) -> tuple[str, str]:
        """Return ``delivered``, ``superseded``, ``dead`` with its cause, or ``lost`` with the reason."""
        replay = self.replays.get(pair)
        if replay is None:
            if pair in self.taken:
                return "delivered", ""
            if cause := self.cause(pair):
                return "dead", cause
        elif not self._settled(pair):
            return "dead", self.letters[pair][-1]["cause"]
        elif any(receipt.replay == replay for receipt in self.taken.get(pair, ())):
            return "delivered", ""
        if pair in self._skipped and self._may_skip(*pair):
            return "superseded", ""
        return "lost", self._why_lost(pair)

    def _settled(self, pair: Pair) -> bool:
        """Tell whether its dead letter is said to be delivered."""
        return pair in self.letters and self.letters[pair][-1].get("state") == "delivered"

    def _may_skip(self, participant: str, event: Identity) -> bool:
        newer = self._newest[participant, event.about] > (event.number or 0)
        return newer and participant in self._latest_only

    def _why_lost(self, pair: Pair) -> str:
        if pair in self.replays:
            return "delivered by a replay, as its dead letter says, but not with it"
        if pair in self.letters:
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


def leaks(
    expectation: Expectation,
    record: Iterable[Receipt],
    endpoints: Mapping[str, str],
    replays: Mapping[Pair, str],
) -> Iterator[Finding]:
    """Find what somebody received that was not for them, was not to be replayed, or names another."""
    names = expectation.due.keys()
    first_ids: dict[Identity, str] = {}
    for receipt in record:
        participant, event = receipt.participant, receipt.identity
        named = receipt.names_another(names)
        if named:
            yield Finding(participant, event, f"names {named}")
        if receipt.replay is not None and replays.get((participant, event)) != receipt.replay:
            yield Finding(participant, event, "came by a replay that it is not in")
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


def disordered(plan: Plan, taken: Mapping[Pair, Sequence[Receipt]]) -> Iterator[Finding]:
    """Find what came too late to an ordered endpoint; a replay, which brings the old, has its own order."""
    ordered = {participant.id for participant in plan.participants if participant.ordered}
    newest: Counter[tuple[str, str, str | None]] = Counter()
    firsts = (receipts[0] for (participant, _), receipts in taken.items() if participant in ordered)
    for receipt in sorted(firsts, key=lambda receipt: receipt.at):
        event = receipt.identity
        outage = receipt.participant, event.about, receipt.replay
        if event.type.startswith("oms."):
            if (event.number or 0) < newest[outage]:
                yield Finding(receipt.participant, event, f"came after sequence {newest[outage]}")
            newest[outage] = max(newest[outage], event.number or 0)


def _speaks_of(receipt: Receipt) -> bool:
    """Tell whether the body names the outage or the trade date that the headers do."""
    return receipt.identity.about.encode() in receipt.body


def _flaw(receipt: Receipt) -> str:
    if not receipt.verified:
        return "wrong signature"
    return "body of something else" if receipt.accepted else f"answered {receipt.answered}"
