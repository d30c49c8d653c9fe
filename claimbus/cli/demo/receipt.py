"""What the receivers wrote down, one request a line: the demo's evidence."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claimbus.cli.demo.expectation import Identity

_WORD: Final = re.compile("[A-Z0-9_]+")

_RECOVERY: Final = "rc_"
"""How the ID of a recovery begins, where that of a replay would stand."""

_DIGESTS: Final = frozenset({"webhook-id", "webhook-signature"})
"""Headers that name nobody, though chance may put any two letters into their Base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request as its receiver wrote it down.

    ``at`` is when it came (seconds since the epoch), ``answered`` the status that it got, or what was done to
    it instead, and ``delay`` how many seconds that took. ``attempt`` is the sender's count, from 1, and
    ``replay`` the replay that it says it belongs to, if any; what a worker recovered for a queue is none.
    """

    participant: str
    identity: Identity
    webhook_id: str
    attempt: int
    replay: str | None
    at: float
    verified: bool
    answered: str
    delay: float
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def accepted(self) -> bool:
        """Tell whether its signature was right and 2xx its answer; otherwise the event was not received."""
        return self.verified and len(self.answered) == 3 and self.answered.startswith("2")

    def names_another(self, participants: Set[str]) -> str | None:
        """Return which participant other than its own any received byte names, and where.

        Names are whole words: an ID may be as short as ``AB``.
        """
        places = [("the body", self.body.decode("latin-1")), ("the target", self.target)]
        places += [(f"the header {name}", value) for name, value in self.headers if name not in _DIGESTS]
        for place, text in places:
            for word in _WORD.findall(text):
                if word in participants and word != self.participant:
                    return f"{word} in {place}"
        return None


def identity_of(type_: str, partitionkey: str | None, sequence: object) -> Identity:
    """Return what an event is about.

    The partition key of a market event is ``market/trade date`` or ``market/trade date/hour``; that of an
    outage's event is its MRID, with the sequence beside it.
    """
    about = partitionkey or ""
    if not type_.startswith("market."):
        return Identity(type_, about, _whole(sequence))
    _, _, occasion = about.partition("/")
    trade_date, _, hour = occasion.partition("/")
    return Identity(type_, trade_date, _whole(hour))


def receipt_of(line: Mapping[str, Any]) -> Receipt:
    """Return the receipt in one line of the record. A receiver has its participant's name."""
    event, text, replay = line["event"], line.get("body"), line.get("replay") or ""
    return Receipt(
        participant=line["receiver"],
        identity=identity_of(event.get("type", ""), event.get("partitionkey"), event.get("sequence")),
        webhook_id=line["webhook_id"] or "",
        attempt=line["attempt"] or 1,
        replay=None if replay.startswith(_RECOVERY) else replay or None,
        at=line["wall"],
        verified=line["verified"],
        answered=line["answered"],
        delay=line.get("delay", 0.0),
        target=line["target"],
        headers=tuple((name, value) for name, value in line["headers"]),
        body=base64.b64decode(line.get("body_base64", "")) if text is None else text.encode(),
    )


def read_receipts(path: Path) -> Iterator[Receipt]:
    """Read a record, JSON lines; those of all receivers may be in one."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield receipt_of(json.loads(line))


def _whole(value: object) -> int | None:
    text = "" if value is None else str(value)
    return int(text) if text.isdecimal() else None
