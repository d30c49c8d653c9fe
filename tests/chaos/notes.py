"""Reads what a run has written down so far into the judge's books."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection

from claimbus.database import attempts, kept, letters
from claimbus.database.engine import Database
from claimbus.database.letters import EVERYTHING, DeadLetter
from claimbus.events.event import identity
from claimbus.events.sealing import Keys
from claimstore.errors import ClaimError
from claimstore.record import read_record
from tests.chaos import ledger
from tests.chaos.judge import Books, Delivery, Place, Receipt
from tests.chaos.ledger import Name, Tail
from tests.chaos.receiver import FORGETS

MOST = 10_000_000
SUPERSEDED = attempts.Filter(verdicts=("superseded",))
LEDGERS = ("ledger.jsonl", "seen.jsonl")


class Notes:
    """The books of one run. ``streamed``: the directory of each participant who receives over a stream."""

    def __init__(
        self, directory: Path, places: Sequence[Place], streamed: Mapping[str, Path], database: Database
    ) -> None:
        self.books = Books(places=places)
        self._intended = Tail(directory / "intended.jsonl")
        self._ledgers = [Tail(directory / name) for name in LEDGERS]
        self._received = Tail(directory / "received.jsonl")
        self._streamed = streamed
        self._landed: set[Path] = set()
        self._database = database

    def begin(self) -> None:
        """Begin new books. What is in the old ones may come once more, but is due no longer."""
        old = self.read()
        self.books = Books(places=old.places, intended=[*old.intended, *old.ledger])

    def read(self) -> Books:
        """Read what is new in publishers' ledgers and receivers' notes."""
        books = self.books
        for tails, entries in (([self._intended], books.intended), (self._ledgers, books.ledger)):
            found = (ledger.read(line) for tail in tails for line in tail.lines())
            entries.extend(entry for entry in found if entry is not None)
        books.receipts.extend(map(_receipt, self._received.lines()))
        for participant, directory in self._streamed.items():
            books.receipts.extend(self._land(participant, directory))
        return books

    async def read_all(self, endpoints: Mapping[str, str]) -> Books:
        """Read that, and what the database says of deliveries that became something else.

        ``endpoints``: the participant of each endpoint's ID. Raises UnavailableError.
        """
        books = self.read()
        names = {identity(*entry.name): entry.name for entry in (*books.intended, *books.ledger)}

        def look(sql: Connection) -> tuple[set[Delivery], dict[Delivery, str | None]]:
            skipped = attempts.find(sql, SUPERSEDED, limit=MOST).rows
            superseded = {
                (endpoints[one.endpoint_id], names[one.message_id])
                for one in skipped
                if one.message_id in names and one.endpoint_id in endpoints
            }
            return superseded, _letters(sql, endpoints, names)

        books.superseded, books.letters = await self._database.read(look)
        return books

    def _land(self, participant: str, directory: Path) -> Iterator[Receipt]:
        """Yield what a subscriber has put into its directory; each event lies there once."""
        for sidecar in sorted(set(directory.glob("evt_*.event")) - self._landed):
            self._landed.add(sidecar)
            told = json.loads(sidecar.read_bytes())
            body = directory / told["body"]
            event, sha256 = told["event"], hashlib.sha256(body.read_bytes()).hexdigest()
            yield _of(participant, event, sha256, taken=True, at=sidecar.stat().st_mtime)


def _letters(
    sql: Connection, endpoints: Mapping[str, str], names: Mapping[str, Name]
) -> dict[Delivery, str | None]:
    """The dead letters that nobody has delivered since, with the SHA-256 of their bodies."""
    found: dict[Delivery, str | None] = {}
    bodies: dict[str, str | None] = {}
    for letter in letters.find(sql, EVERYTHING, limit=MOST).rows:
        participant, name = endpoints.get(letter.endpoint_id or ""), names.get(letter.message_id or "")
        if participant is None or name is None or letter.state == "delivered":
            continue
        claim_id = letter.claim_id or ""
        if claim_id not in bodies:
            bodies[claim_id] = _body(sql, letter)
        found[participant, name] = bodies[claim_id]
    return found


def _body(sql: Connection, letter: DeadLetter) -> str | None:
    claim = None if letter.claim_id is None else kept.get(sql, letter.claim_id)
    if claim is None:
        return None
    try:
        read = read_record(claim.claim_id, claim.record, expires=letter.expires or 0, keys=Keys.parse(""))
    except ClaimError:
        return None
    return hashlib.sha256(read.event.body).hexdigest()


def _receipt(line: bytes) -> Receipt:
    told = json.loads(line)
    answered = told["answered"]
    return _of(
        told["receiver"].partition("-")[0],
        told["event"],
        told["sha256"],
        taken=(answered.startswith("2") and answered != FORGETS) or answered in ("drip", "huge"),
        forgotten=answered == FORGETS,
        replayed=bool(told["replay"]),
        at=told["wall"],
    )


def _of(
    participant: str,
    event: Mapping[str, str],
    sha256: str,
    *,
    taken: bool,
    at: float,
    forgotten: bool = False,
    replayed: bool = False,
) -> Receipt:
    sequence = event.get("sequence")
    return Receipt(
        participant=participant,
        name=(event.get("source", ""), event.get("id", "")),
        key=event.get("partitionkey"),
        sequence=None if sequence is None else int(sequence),
        sha256=sha256,
        taken=taken,
        forgotten=forgotten,
        replayed=replayed,
        at=at,
    )
