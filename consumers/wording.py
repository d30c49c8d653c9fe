"""What contacts are told, in words: a mail for what happened to their organisation."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from claimbus.database.tidings import Tiding, What
from consumers.verification import FAILURES

WIDTH: Final = 76
"""Characters of a line, but for what cannot be broken: a URL."""

LONGEST: Final = 300
"""Characters of a reason; it may hold what a receiver answered."""

LONGEST_NOTICE: Final = 2000
"""The same of a certificate's notice, which may hold a long name and is our own otherwise."""

NO_REASON: Final = "nobody gave a reason"

EARLIER: Final = 10
"""Things that happened to an endpoint before the last one, and are listed."""

_KEPT: Final = "Its queue keeps what comes, until that is older than the endpoint's age limit."

SAID: Final[Mapping[What, tuple[str, str]]] = {
    "held": (
        "is held: deliveries to it kept failing",
        "Mend your receiver. Deliveries are tried one at a time; the first that succeeds ends the hold. "
        + _KEPT,
    ),
    "released": ("receives again: the hold is over", "Nothing. What was kept meanwhile is on its way."),
    "disabled": (
        "is disabled: nothing is sent to it",
        f"Have it enabled once it is to receive again. {_KEPT}",
    ),
    "paused": ("is paused: nothing is sent to it", f"Resume it when it is to receive again. {_KEPT}"),
    "active": ("is active again", "Nothing. What was kept meanwhile is on its way."),
    "pending": (
        "is on again, but its URL is not verified yet",
        f"Have the URL verified: nothing is sent to it before. {_KEPT}",
    ),
}
"""What an endpoint became, and what to do then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Where things are: ``portal_url`` has no slash at its end, and is empty where nobody said it."""

    environment: str
    portal_url: str
    zone: ZoneInfo

    def subject(self, tidings: Sequence[Tiding]) -> str:
        """Return one line: what it is about or, of several things, how many of each."""
        certificates = [one for one in tidings if one.what == "certificate"]
        last = {one.endpoint_id: one for one in tidings if one.what != "certificate"}
        match list(last.values()), certificates:
            case [], [one]:
                about = one.title
            case [one], []:
                about = f'endpoint "{one.endpoint_name}" of {one.participant_id}: {one.what}'
            case endpoints, _:
                counts = Counter(one.what for one in endpoints)
                counted = ", ".join(f"{count} {what}" for what, count in counts.items())
                about = "; ".join(
                    f"{what}: {of_them}"
                    for what, of_them in (
                        ("endpoints", counted),
                        ("certificates near their end", len(certificates)),
                    )
                    if of_them
                )
        return f"[{self.environment}] {about}"

    def text(self, organisation_id: str, tidings: Sequence[Tiding]) -> str:
        """Return the text: endpoint by endpoint, then certificates."""
        of_endpoint: defaultdict[str, list[Tiding]] = defaultdict(list)
        for one in tidings:
            if one.what != "certificate":
                of_endpoint[one.endpoint_id].append(one)
        parts = [self._endpoint(happened) for happened in of_endpoint.values()]
        parts += [self._certificate(one) for one in tidings if one.what == "certificate"]
        parts.append(
            _filled(
                f"To the contacts of {_line(organisation_id)}, from the event bus, environment"
                f" {self.environment}. Nobody reads what is answered to this mail."
            )
        )
        return "\n\n".join(parts) + "\n"

    def _endpoint(self, happened: Sequence[Tiding]) -> str:
        last = happened[-1]
        became, to_do = SAID[last.what]
        facts = {
            "ID": last.endpoint_id,
            "since": self._moment(last.at),
            "why": _why(last),
            "to do": to_do,
        }
        if self.portal_url:
            facts["where"] = f"{self.portal_url}/endpoints/{last.endpoint_id}"
        head = f'Endpoint "{_line(last.endpoint_name)}" of {last.participant_id} {became}.'
        return "\n".join([_filled(head), *_listed(facts), *self._earlier(happened[:-1])])

    def _earlier(self, happened: Sequence[Tiding]) -> Iterator[str]:
        left_out = len(happened) - EARLIER
        for number, one in enumerate(happened[-EARLIER:]):
            label = "before" if not number else ""
            yield from _listed(
                {label: f"{self._moment(one.at)}: {one.what}, {_line(one.reason) or NO_REASON}"}
            )
        if left_out > 0:
            yield from _listed({"": f"and {left_out} times more before that"})

    def _certificate(self, one: Tiding) -> str:
        head, text = _filled(f"{_line(one.title)}."), _filled(_line(one.reason, LONGEST_NOTICE))
        return "\n".join([head, text, *_listed({"where": self.portal_url} if self.portal_url else {})])

    def _moment(self, at: datetime) -> str:
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M:%S %Z} ({at.astimezone(UTC):%H:%M:%S} UTC)"


def _why(one: Tiding) -> str:
    """Return the reason in plain words, where a worker gave it in technical ones."""
    word, _, detail = _line(one.reason).partition(": ")
    match word, one.what:
        case failure, "held" if failure in FAILURES:
            return f"{FAILURES[failure]} ({detail})"
        case status, "held" if status.startswith("HTTP "):
            return f"it answers with {status}"
        case "410 Gone", "disabled":
            return "it answered 410 Gone, by which a receiver says that it wants no more"
    return _line(one.reason) or NO_REASON


def _line(text: str, longest: int = LONGEST) -> str:
    """Return a text of others in one line, of characters that can be seen."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.shorten(seen, longest, placeholder=" …")


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _listed(facts: Mapping[str, str]) -> Iterator[str]:
    for label, text in facts.items():
        yield textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"  {label:8}",
            subsequent_indent=" " * 10,
            break_long_words=False,
            break_on_hyphens=False,
        )
