"""The verdict on a run, from what publishers were told and what receivers wrote down.

It knows nothing of the product's own view but two things that a delivery may have become instead: superseded,
which is believed only if the receiver has something newer, and a dead letter, which must have its body.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.ledger import Entry, Name

Delivery = tuple[str, Name]
"""A participant, and the event that is for it. Each participant has one endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What an endpoint asked for. ``patterns``: event types, the last word perhaps ``#``."""

    participant: str
    patterns: tuple[str, ...]
    ordered: bool = False
    latest_only: bool = False

    def wants(self, type_: str) -> bool:
        return any(
            type_ == pattern or (pattern.endswith("#") and type_.startswith(pattern[:-1]))
            for pattern in self.patterns
        )

    def may_see(self, entry: Entry) -> bool:
        return entry.audience == "all" or self.participant in entry.audience

    def is_due(self, entry: Entry) -> bool:
        return self.may_see(entry) and self.wants(entry.type)


class Receipt(NamedTuple):
    """A request as its receiver wrote it down, before it answered.

    ``taken``: it was answered by a 2xx. ``forgotten``: so, but the receiver lost it. ``replayed``: it says
    that an operator had it sent again. ``at`` is in seconds since the epoch.
    """

    participant: str
    name: Name
    key: str | None
    sequence: int | None
    sha256: str
    taken: bool
    forgotten: bool
    replayed: bool
    at: float


@dataclass(slots=True, kw_only=True)
class Books:
    """All that the judge may know.

    ``intended`` has what publishers were about to publish, ``ledger`` what was acknowledged to them.
    ``letters``: the SHA-256 of each dead letter's kept body, None where there is none.
    """

    places: Sequence[Place]
    intended: list[Entry] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    superseded: AbstractSet[Delivery] = frozenset()
    letters: Mapping[Delivery, str | None] = field(default_factory=dict)

    def due(self) -> Iterable[tuple[Place, Entry]]:
        """Yield every delivery that was promised."""
        return ((place, entry) for entry in self.ledger for place in self.places if place.is_due(entry))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict. ``expected`` deliveries of ``events`` that were acknowledged; ``letters``: those of them
    that are dead letters; ``leaked`` says what came to whom, and why it should not have.
    """

    events: int
    expected: int
    lost: tuple[Delivery, ...]
    leaked: tuple[str, ...]
    duplicates: int
    disordered: tuple[str, ...]
    bodiless: tuple[Delivery, ...]
    forgotten: int
    letters: int


def judge(books: Books) -> Outcome:
    """Judge a run. An event that was never acknowledged may have come or not, but to its audience only."""
    taken = Counter((one.participant, one.name) for one in books.receipts if one.taken)
    forgotten = {(one.participant, one.name) for one in books.receipts if one.forgotten}
    newest = _newest(books)
    expected = letters = lost_by_receiver = 0
    lost: list[Delivery] = []
    for place, entry in books.due():
        delivery = place.participant, entry.name
        expected += 1
        if taken[delivery]:
            continue
        if delivery in books.letters:
            letters += 1
        elif delivery in forgotten:
            lost_by_receiver += 1
        elif not (
            place.latest_only
            and delivery in books.superseded
            and (entry.sequence or 0) < newest.get((place.participant, entry.key), 0)
        ):
            lost.append(delivery)
    return Outcome(
        events=len(books.ledger),
        expected=expected,
        lost=tuple(lost),
        leaked=tuple(_leaks(books)),
        duplicates=taken.total() - len(taken),
        disordered=tuple(_disorder(books)),
        bodiless=tuple(_bodiless(books)),
        forgotten=lost_by_receiver,
        letters=letters,
    )


def recovery(books: Books, moment: float) -> float:
    """Return the seconds from a moment until all had come that was acknowledged before it and came at all."""
    first: dict[Delivery, float] = {}
    for one in books.receipts:
        if one.taken:
            first.setdefault((one.participant, one.name), one.at)
    times = (
        first.get((place.participant, entry.name), moment)
        for place, entry in books.due()
        if entry.at <= moment
    )
    return max(0.0, max(times, default=moment) - moment)


def _newest(books: Books) -> dict[tuple[str, str | None], int]:
    newest: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for one in books.receipts:
        if one.taken and one.sequence is not None:
            newest[one.participant, one.key] = max(newest[one.participant, one.key], one.sequence)
    return newest


def _leaks(books: Books) -> Iterable[str]:
    places = {place.participant: place for place in books.places}
    known = {entry.name: entry for entry in (*books.intended, *books.ledger)}
    bodies = {entry.name: entry.sha256 for entry in known.values() if entry.sha256 is not None}
    for one in books.receipts:
        entry, told = known.get(one.name), f"{one.name[1]} to {one.participant}"
        if entry is None:
            yield f"{told}: nobody published it"
        elif not places[one.participant].may_see(entry):
            yield f"{told}: not in its audience"
        elif not places[one.participant].wants(entry.type):
            yield f"{told}: not subscribed to {entry.type}"
        elif bodies.setdefault(one.name, one.sha256) != one.sha256:
            yield f"{told}: with another body"


def _disorder(books: Books) -> Iterable[str]:
    """Yield what came to an ordered endpoint after something newer of its outage; first receipts count."""
    ordered = {place.participant for place in books.places if place.ordered}
    seen: set[Delivery] = set()
    newest: dict[tuple[str, str], int] = {}
    for one in books.receipts:
        delivery = one.participant, one.name
        if one.participant not in ordered or one.replayed or one.key is None or delivery in seen:
            continue
        seen.add(delivery)
        before, sequence = newest.get((one.participant, one.key), -1), one.sequence or 0
        if sequence < before:
            yield f"{one.key} to {one.participant}: {sequence} after {before}"
        newest[one.participant, one.key] = max(before, sequence)


def _bodiless(books: Books) -> Iterable[Delivery]:
    bodies = {entry.name: entry.sha256 for entry in (*books.intended, *books.ledger)}
    for delivery, sha256 in books.letters.items():
        if sha256 is None or bodies.get(delivery[1]) not in (None, sha256):
            yield delivery
