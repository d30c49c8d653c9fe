"""Recoveries: an endpoint gets what it missed since a time, while its UAA looks on.

A recovery runs in the portal that began it, which alone knows how far it is, and ends with it. What it sends
is in the audit, from its begin on.
"""

from base64 import b32encode
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Final, Literal

from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.deadletters.recover import Recovered, Recovery
from claimbus.events.errors import ClaimbusError, InvalidInputError, UnavailableError
from claimbus.events.routing import check_pattern
from claimbus.portal.desk import journal, memory, patience, scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services

AT_ONCE: Final = 8
"""Recoveries that run in a portal at a time: each reads the journal."""

KEPT: Final = 500
"""Recoveries that are remembered."""

State = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A recovery as it is now: ``read`` of ``total`` journal entries (0 until it is known).

    ``recovered`` has the figures once it is ``done``; ``why`` tells what broke off one that ``failed``: what
    was not sent by then may be recovered again.
    """

    id: str
    endpoint_id: str
    participant_id: str
    actor: str
    reason: str
    since: datetime
    until: datetime | None
    type: str | None
    everything: bool
    state: State
    begun_at: datetime
    ended_at: datetime | None = None
    read: int = 0
    total: int = 0
    recovered: Recovered | None = None
    why: str = ""


class _Recoveries:
    """Those of a portal, by ID, in the order of their begin."""

    def __init__(self) -> None:
        self.known: OrderedDict[str, Progress] = OrderedDict()

    def add(self, progress: Progress) -> None:
        running = [one for one in self.known.values() if one.state == "running"]
        if any(one.endpoint_id == progress.endpoint_id for one in running):
            raise DuplicateError("endpoint", "is being recovered already")
        if len(running) >= AT_ONCE:
            raise UnavailableError(f"{AT_ONCE} recoveries are running")
        self.known[progress.id] = progress
        ended = [one.id for one in self.known.values() if one.state != "running"]
        for old in ended[: max(0, len(self.known) - KEPT)]:
            del self.known[old]

    async def run(self, recovery: Recovery, begun: Progress, rate: float | None) -> None:
        state: State = "failed"
        why, recovered = "the portal was stopped", None
        try:
            recovered = await recovery.run(
                begun.endpoint_id,
                begun.since,
                act=Act(begun.actor, begun.reason),
                until=begun.until,
                type_pattern=begun.type,
                everything=begun.everything,
                rate=rate,
                on_progress=lambda read, total: self._is(begun.id, read=read, total=total),
            )
        except ClaimbusError as failed:
            why = str(failed)
        except Exception:
            why = "something went wrong here"
            raise
        else:
            state, why = "done", ""
        finally:
            self._is(begun.id, state=state, ended_at=datetime.now(UTC), recovered=recovered, why=why)

    def _is(self, id_: str, **now: object) -> None:
        self.known[id_] = replace(self.known[id_], **now)  # type: ignore[arg-type]  # its own fields


async def start(
    services: Services,
    who: Principal,
    endpoint_id: str,
    since: datetime,
    *,
    until: datetime | None = None,
    type_: str | None = None,
    all_: bool = False,
    reason: str = "",
) -> str:
    """Begin to deliver what an endpoint missed from ``since`` on; ``all_``: what it got, too. Returns its ID.

    Raises InvalidInputError naming the argument at fault, DuplicateError while another one runs for it, and
    UnavailableError when too many run.
    """
    endpoint = await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))
    _check(endpoint, since, until, type_)
    begun = Progress(
        id="rv_" + b32encode(token_bytes(10)).decode().lower(),
        endpoint_id=endpoint.id,
        participant_id=endpoint.participant_id,
        actor=who.name,
        reason=reason,
        since=max(since, journal.EPOCH),
        until=until,
        type=type_,
        everything=all_,
        state="running",
        begun_at=datetime.now(UTC),
    )
    patience.must_be_connected(services)
    kept = memory.of(services)
    recoveries = kept.the(_Recoveries)
    recoveries.add(begun)
    recovery = Recovery(
        services.database,
        services.store,
        services.consuming,
        services.publisher,
        claim_life=services.claim_life,
    )
    kept.start(recoveries.run(recovery, begun, services.replay_rate), f"recovers {endpoint.id}")
    return begun.id


async def find(services: Services, who: Principal, *, endpoint_id: str | None = None) -> tuple[Progress, ...]:
    """Return those that this portal remembers, the newest first."""
    seen = scope.seen_by(who)
    if endpoint_id is not None:
        await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id))
    known = reversed(memory.of(services).the(_Recoveries).known.values())
    return tuple(
        one
        for one in known
        if (seen is None or one.participant_id in seen) and endpoint_id in {None, one.endpoint_id}
    )


async def get(services: Services, who: Principal, recovery_id: str) -> Progress:
    """Return one. Raises ForbiddenError, and for operators NotFoundError."""
    seen = scope.seen_by(who)
    found = memory.of(services).the(_Recoveries).known.get(recovery_id)
    if found is None and who.is_one_of(Role.OPERATOR):
        raise NotFoundError("recovery", f"this portal knows no recovery {recovery_id!r:.60}")
    if found is None or (seen is not None and found.participant_id not in seen):
        raise ForbiddenError
    return found


def _check(endpoint: Endpoint, since: datetime, until: datetime | None, type_: str | None) -> None:
    if endpoint.removed_at is not None:
        raise InvalidInputError("endpoint", "was removed; there is nowhere to deliver to")
    if since >= datetime.now(UTC):
        raise InvalidInputError("since", "is not in the past")
    if until is not None and until <= since:
        raise InvalidInputError("until", "is not later than since")
    if type_ is not None:
        try:
            check_pattern(type_)
        except InvalidInputError as wrong:
            raise InvalidInputError("type", wrong.reason) from wrong
