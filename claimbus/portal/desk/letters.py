"""Dead letters: what there is, what a replay would meet, and what is done about them.

Operators see all of them; participants' people those of their own participants, and UAAs may replay these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from claimbus.database import groups, letters, replays
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.database.groups import By, Group
from claimbus.database.letters import DeadLetter, Filter, State
from claimbus.database.page import Page
from claimbus.database.replays import Replay
from claimbus.deadletters import show
from claimbus.deadletters.bodies import Body
from claimbus.deadletters.preflight import Preflight, Report
from claimbus.deadletters.show import Shown
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import rates, scope
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST: Final = 100_000
"""Letters of one replay: its selection is frozen to IDs, which are all held in memory."""

MANY: Final = 2000
"""Letters whose preflight counts for `rates.LOOKING_AHEAD`: each letter's body is read for it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Letters in a state, frozen to IDs; ``words`` tell how they were chosen."""

    ids: tuple[str, ...]
    words: Mapping[str, Any]


async def find(
    services: Services, who: Principal, wanted: Filter, *, cursor: str | None = None, limit: int = 50
) -> Page[DeadLetter]:
    """Return letters, the newest first."""
    own = _own(who, wanted)
    return await services.database.read(lambda sql: letters.find(sql, own, cursor=cursor, limit=limit))


async def group(
    services: Services, who: Principal, wanted: Filter, *, by: By = "error", buckets: int = 24
) -> list[Group]:
    """Return the biggest groups of letters, the biggest first."""
    own = _own(who, wanted)
    return await services.database.read(lambda sql: groups.groups(sql, own, by=by, buckets=buckets))


async def count(services: Services, who: Principal, wanted: Filter) -> dict[str, int]:
    """Return how many letters are in which state."""
    own = replace(_own(who, wanted), states=None)
    return await services.database.read(lambda sql: letters.count(sql, own, by="state"))


async def look(services: Services, who: Principal, letter_id: str, *, reason: str = "") -> Shown:
    """Show a letter, its attempts, the beginning of its body; the look is audited."""
    scope.must_be(who, *scope.LOOKING)
    return await show.look(
        services.database,
        services.store,
        letter_id,
        who,
        reason=reason,
        letters_kept=services.letters_kept,
    )


async def body(services: Services, who: Principal, letter_id: str, *, reason: str = "") -> Body:
    """Return a letter's whole body, to be streamed; the look is audited."""
    scope.must_be(who, *scope.LOOKING)
    return await show.body(services.database, services.store, letter_id, who, reason=reason)


async def choose(
    services: Services, who: Principal, wanted: Filter, words: Mapping[str, Any], *, state: State = "dead"
) -> Chosen:
    """Freeze the letters in this state that a filter finds now.

    Raises InvalidInputError when there are none, or over `MOST`.
    """
    scope.must_be(who, *scope.KEEPING)
    own = replace(_own(who, wanted), states=(state,))
    ids = await services.database.read(lambda sql: letters.select_ids(sql, own))
    if not ids:
        raise InvalidInputError("letters", f"there is no such letter that is {state}")
    if len(ids) > MOST:
        raise InvalidInputError("letters", f"{len(ids):,} are over {MOST:,}; choose fewer")
    return Chosen(tuple(ids), dict(words) or {"all": True})


async def preflight(
    services: Services, who: Principal, chosen: Chosen, *, rate: float | None = None
) -> Report:
    """Tell what a replay of these letters would meet; nothing is sent. Raises `rates.TooOftenError`."""
    scope.must_be(who, *scope.KEEPING)
    if len(chosen.ids) > MANY:
        rates.take(services, rates.LOOKING_AHEAD, who)
    return await _preflight(services, chosen, rate)


async def _preflight(services: Services, chosen: Chosen, rate: float | None) -> Report:
    look_ahead = Preflight(services.database, services.store, services.holds)
    return await look_ahead.run(chosen.ids, rate=services.replay_rate if rate is None else rate)


async def replay(
    services: Services,
    who: Principal,
    chosen: Chosen,
    *,
    rate: float | None = None,
    canary: bool = True,
    reason: str = "",
) -> tuple[Replay, Report]:
    """Make a job that delivers them again, after a preflight of its own; workers run it.

    Raises InvalidInputError when none of them can be sent.
    """
    scope.must_be(who, *scope.KEEPING)
    report = await _preflight(services, chosen, rate)
    if not report.ready:
        raise InvalidInputError("letters", "none of them can be sent: see the preflight")

    def making(sql: "Connection") -> Replay:
        return replays.create(
            sql,
            chosen.ids,
            Act(who.name, reason),
            selection=chosen.words,
            rate=report.rate,
            canary=canary,
            skipped=report.not_ready,
        )

    return await services.database.run(making), report


async def discard(services: Services, who: Principal, chosen: Chosen, *, reason: str) -> int:
    """Set them aside; return how many. Their bodies are kept until retention ends."""
    scope.must_be(who, Role.OPERATOR)
    act = Act(who.name, reason)
    return await services.database.run(lambda sql: letters.discard(sql, chosen.ids, act))


async def restore(services: Services, who: Principal, chosen: Chosen, *, reason: str = "") -> int:
    """Take back what was discarded; return how many."""
    scope.must_be(who, Role.OPERATOR)
    act = Act(who.name, reason)
    return await services.database.run(lambda sql: letters.restore(sql, chosen.ids, act))


def _own(who: Principal, wanted: Filter) -> Filter:
    """Return the filter, narrowed to what somebody may see. Raises ForbiddenError for another's."""
    for participant_id in wanted.participant_ids or ():
        scope.narrowed(who, participant_id)
    seen = scope.seen_by(who)
    if seen is None or wanted.participant_ids:
        return wanted
    return replace(wanted, participant_ids=seen)
