"""Where endpoints stand, as one looks for it and in words: what is held counts as held, not as active."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from claimbus.database.attempts import Attempt
from claimbus.database.endpoint import Endpoint, State
from claimbus.portal.desk.health import Health
from consumers.verdict import Verdict
from consumers.verification import FAILURES


class Standing(NamedTuple):
    """What to look for, to find those that stand somewhere; None: whatever it is."""

    state: State | None
    held: bool | None = None


STANDINGS: Final[Mapping[str, Standing]] = {
    "active": Standing("active", held=False),
    "held": Standing("active", held=True),
    "pending": Standing("pending"),
    "paused": Standing("paused"),
    "disabled": Standing("disabled"),
}

_WORDS_OF_SETTINGS: Final = re.compile(r" \(CLAIMBUS_[^)]*\)")


def standing(endpoint: Endpoint, health: Health | None) -> str:
    """Return where an endpoint stands; without its health nobody knows whether it is held."""
    if endpoint.state == "active" and health is not None and health.held_since is not None:
        return "held"
    return endpoint.state


def tally(endpoints: Iterable[Endpoint], health: Mapping[str, Health]) -> dict[str, int]:
    """Return how many stand where, in the order of `STANDINGS`."""
    counts = Counter(standing(one, health.get(one.id)) for one in endpoints)
    return {name: counts[name] for name in STANDINGS if counts[name]}


def last_failure(attempts: Iterable[Attempt]) -> Attempt | None:
    """Return the newest attempt that failed, of attempts that come newest first."""
    return next((one for one in attempts if one.verdict == Verdict.FAILED), None)


def advice(failure: Attempt | None) -> str:
    """Return what the UAA of an endpoint that fails should look after, by its last attempt that failed."""
    status, detail = (failure.status, failure.detail or "") if failure else (None, "")
    match status:
        case None:
            known = {str(name): told for name, told in FAILURES.items()}
            told = known.get(detail.partition(":")[0])
            return plain(told) if told else "Is your receiver up, and can it be reached from outside?"
        case _ if status < 400:
            return "It points elsewhere. Redirects are never followed: give the URL that it points to."
        case 408 | 425 | 429:
            return "Your receiver gets more than it takes: allow fewer deliveries a second, or at a time."
        case _:
            return "Your receiver answers with an error of its own: its log says more."


def plain(told: str) -> str:
    """Return what a verification or a failure means as a sentence for a UAA.

    The names of settings, which are the ISO's to change, are left out; whose they are is said instead.
    """
    bare = _WORDS_OF_SETTINGS.sub("", told)
    text = f"{bare}; ask the ISO, it is set there" if bare != told else bare
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('?', '.')) else '.'}"
