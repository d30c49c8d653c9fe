"""Preflight: what a replay would meet, letter by letter, before anything is sent. Nothing is changed."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from claimbus.database import attempts, letters
from claimbus.database.engine import Database
from claimbus.database.letters import DeadLetter
from claimbus.database.statements import portions
from claimbus.deadletters import readiness
from claimbus.deadletters.bodies import Bodies, Found, Where
from claimbus.deadletters.readiness import Directory, Standing, bodiless
from claimstore.holds import Holds, HoldState
from claimstore.store import ClaimStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

AT_A_TIME: Final = 1000
"""Letters that are looked at together."""

OnProgress = Callable[[int, int], None]
"""Called with how many letters were looked at, and how many there are."""

_NOWHERE: Final = Found("gone", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtEndpoint:
    """What a replay would meet at one endpoint; sending its ``ready`` letters takes ``seconds``."""

    endpoint_id: str | None
    name: str | None
    participant_id: str | None
    standing: Standing
    letters: int
    ready: int
    duplicates: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a replay of ``letters`` would meet.

    ``bodies`` counts them by where their body is, ``endpoints`` by where their endpoint stands.
    ``not_entitled`` have a participant who may not see the event now, the event of ``duplicates`` was
    delivered to the endpoint before. ``not_ready`` tells of each one that would not be sent why.
    ``seconds`` is how long sending takes at ``rate``, which is per endpoint; None where there is none.
    """

    letters: int
    ready: int
    bodies: dict[Where, int]
    endpoints: dict[Standing, int]
    not_entitled: int
    duplicates: int
    rate: float | None
    seconds: float | None
    not_ready: dict[str, str]
    by_endpoint: tuple[AtEndpoint, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return asdict(self)


class Preflight:
    """Looks at letters, on connections that stay their opener's."""

    def __init__(self, database: Database, store: ClaimStore, holds: Holds) -> None:
        self._database = database
        self._holds = holds
        self._bodies = Bodies(store, database)

    async def run(
        self,
        ids: Collection[str],
        *,
        rate: float | None,
        on_progress: OnProgress = lambda _done, _total: None,
    ) -> Report:
        """Look at these letters; every body is read, and held against its hash.

        ``rate`` is in deliveries a second to each endpoint, None: no limit. Raises UnavailableError.
        """
        survey = _Survey(await self._database.read(readiness.read))
        found: dict[str, Found] = {}
        done = 0
        for some in portions(ids, AT_A_TIME):
            page, delivered = await self._database.read(partial(_read, ids=some))
            held = await self._holds.state({one.endpoint_id for one in page if one.endpoint_id})
            found = await self._find({one.claim_id for one in page if one.claim_id}, found)
            for letter in page:
                hold, body = held.get(letter.endpoint_id or ""), found.get(letter.claim_id or "", _NOWHERE)
                survey.add(letter, hold, body, is_duplicate=letter.id in delivered)
            survey.miss(set(some).difference(one.id for one in page))
            done += len(some)
            on_progress(done, len(ids))
        return survey.report(rate)

    async def _find(self, claim_ids: Collection[str], before: Mapping[str, Found]) -> dict[str, Found]:
        """Look where bodies are, but for those that were looked at just ``before``."""
        known = {claim_id: before[claim_id] for claim_id in claim_ids if claim_id in before}
        return known | await self._bodies.look(claim_id for claim_id in claim_ids if claim_id not in before)


class _Survey:
    """What was found out so far."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._not_ready: dict[str, str] = {}
        self._bodies: Counter[Where] = Counter()
        self._not_entitled = 0
        self._standing: dict[str | None, Standing] = {}
        self._participant: dict[str | None, str | None] = {}
        self._letters: Counter[str | None] = Counter()
        self._ready: Counter[str | None] = Counter()
        self._duplicates: Counter[str | None] = Counter()

    def add(self, letter: DeadLetter, hold: HoldState | None, body: Found, *, is_duplicate: bool) -> None:
        """Take in what was found out about a letter."""
        directory, endpoint_id = self._directory, letter.endpoint_id
        forbidden = directory.forbidden(letter)
        excluded = None if body.audience is None else directory.excluded(letter, body.audience)
        taken = None if letter.state == "dead" else f"{letter.state} already"
        refused = taken or directory.closed(letter, hold) or forbidden or bodiless(body.where) or excluded
        self._standing[endpoint_id] = directory.standing(endpoint_id, hold)
        self._participant[endpoint_id] = letter.participant_id
        self._bodies[body.where] += 1
        self._not_entitled += bool(letter.type and (forbidden or excluded))
        self._letters[endpoint_id] += 1
        self._duplicates[endpoint_id] += is_duplicate
        if refused is None:
            self._ready[endpoint_id] += 1
        else:
            self._not_ready[letter.id] = refused

    def miss(self, ids: Iterable[str]) -> None:
        """Take in that there are no letters with these IDs."""
        self._not_ready |= dict.fromkeys(ids, "no such letter")

    def report(self, rate: float | None) -> Report:
        """Return what all of it comes to, the endpoint with most letters first."""
        rows = tuple(self._row(endpoint_id, rate) for endpoint_id, _ in self._letters.most_common())
        standings: Counter[Standing] = Counter()
        for row in rows:
            standings[row.standing] += row.letters
        ready = self._ready.total()
        return Report(
            letters=ready + len(self._not_ready),
            ready=ready,
            bodies=dict(self._bodies),
            endpoints=dict(standings),
            not_entitled=self._not_entitled,
            duplicates=self._duplicates.total(),
            rate=rate,
            seconds=max((row.seconds or 0.0 for row in rows), default=0.0) if rate else None,
            not_ready=self._not_ready,
            by_endpoint=rows,
        )

    def _row(self, endpoint_id: str | None, rate: float | None) -> AtEndpoint:
        endpoint, ready = self._directory.endpoint(endpoint_id), self._ready[endpoint_id]
        return AtEndpoint(
            endpoint_id=endpoint_id,
            name=endpoint.name if endpoint else None,
            participant_id=self._participant[endpoint_id],
            standing=self._standing[endpoint_id],
            letters=self._letters[endpoint_id],
            ready=ready,
            duplicates=self._duplicates[endpoint_id],
            seconds=ready / rate if rate else None,
        )


def _read(sql: "Connection", ids: Sequence[str]) -> tuple[list[DeadLetter], set[str]]:
    """Return letters, and the IDs of those whose event was delivered to their endpoint."""
    page = letters.many(sql, ids)
    places = {one.id: (one.endpoint_id, one.message_id) for one in page}
    arrived = attempts.arrived(sql, [(at, what) for at, what in places.values() if at and what])
    return page, {id_ for id_, place in places.items() if place in arrived}
