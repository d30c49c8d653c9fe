"""Recover: what the journal has and an endpoint did not get is delivered again.

For a participant who lost a day, and for an endpoint whose queue was in quarantine::

    journal -> of the period, subscribed, open -> not delivered yet -> audience of the claim -> redeliver

Who may see an event is known from its claim alone: the journal names but the first recipient.
"""

from base64 import b32encode
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from secrets import token_bytes
from typing import Any, Final, Literal, NamedTuple

from claimbus.broker import topology
from claimbus.broker.connection import Connection
from claimbus.broker.journal import first_entry
from claimbus.broker.publisher import Publisher
from claimbus.database import audit, endpoints, participants
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import Participant
from claimbus.deadletters.bodies import Bodies
from claimbus.deadletters.missed import Missed
from claimbus.deadletters.period import OnProgress, Period, stretches
from claimbus.deadletters.redelivery import Redelivery
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time
from claimbus.events.routing import check_pattern
from claimbus.events.ticket import Ticket
from claimstore.holds import Holds
from claimstore.store import ClaimStore

RATE: Final = 50.0
"""Deliveries a second, unless told otherwise."""

BATCH: Final = 500
"""Journal entries compared with the attempts at a time."""

NAMED: Final = 20
"""So many of the events that it would send are named by a dry run."""

State = Literal["pending", "active", "held", "paused", "disabled"]


class Missing(NamedTuple):
    """An event that an endpoint did not get."""

    published_at: datetime
    type: str
    message_id: str
    partitionkey: str | None

    @classmethod
    def of(cls, ticket: Ticket) -> "Missing":
        """Return what a ticket tells."""
        at = datetime.fromtimestamp(ticket.timestamp, UTC)
        return cls(at, ticket.type, ticket.message_id, ticket.partitionkey)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a recovery found and sent; a dry run would have sent it.

    ``replay`` is what its tickets carry. Before it the endpoint stood at ``endpoint_state`` (unless active,
    its queue keeps what is sent), and ``waiting`` tickets were in its queue: what an earlier recovery left
    there was not delivered yet, and is sent twice.

    ``read`` tickets are of the period. ``concerning`` are the events among them that the endpoint is
    subscribed to and whose types are open to its participant. Of these ``settled`` were delivered or
    superseded before, ``not_entitled`` are for others alone, the claims of ``gone`` are nowhere any more,
    whoever they were for, and ``redelivered`` were sent.

    Only a dry run tells the first `NAMED` of the ``events`` that it would send, and from when on the journal
    has tickets (None: it has none).
    """

    replay: str
    endpoint_state: State
    waiting: int
    read: int
    concerning: int
    settled: int
    not_entitled: int
    gone: int
    redelivered: int
    events: tuple[Missing, ...] = ()
    journal_begins: datetime | None = None

    def counts(self) -> dict[str, Any]:
        """Return all but what only a dry run tells."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_DRY_RUNS}


_OF_DRY_RUNS: Final = ("events", "journal_begins")


class Recovery:
    """Recovers endpoints, on connections that stay their opener's."""

    def __init__(
        self,
        database: Database,
        store: ClaimStore,
        connection: Connection,
        publisher: Publisher,
        *,
        claim_life: timedelta,
    ) -> None:
        """Wire it; ``claim_life`` is how long a claim lives that would not outlive its new delivery."""
        self._database = database
        self._store = store
        self._connection = connection
        self._publisher = publisher
        self._claim_life = claim_life

    async def run(
        self,
        endpoint_id: str,
        since: datetime,
        *,
        act: Act,
        until: datetime | None = None,
        type_pattern: str | None = None,
        everything: bool = False,
        rate: float | None = RATE,
        dry_run: bool = False,
        on_progress: OnProgress = lambda _read, _total: None,
    ) -> Recovered:
        """Send an endpoint what was published in a period and it did not get.

        What it is subscribed to, and what is open to its participant, counts as it is now. ``everything``:
        what it got, too. ``rate`` is in deliveries a second, None: no limit. ``dry_run`` counts only. What is
        sent leaves an entry in the audit before the first delivery, and one with the figures in the end, even
        when it breaks off.

        Raises NotFoundError for an endpoint that there is not, or no longer, InvalidInputError naming the
        argument at fault, and UnavailableError: then it broke off, and may be repeated.
        """
        period = Period(since, until)
        _check(type_pattern, rate)
        endpoint, participant = await self._receiver(endpoint_id)
        missed = Missed(
            self._database, self._store, endpoint, participant, pattern=type_pattern, everything=everything
        )
        redelivery = Redelivery(
            self._store,
            Bodies(self._store, self._database),
            self._publisher,
            endpoint,
            name="rc_" + b32encode(token_bytes(10)).decode().lower(),
            rate=rate,
            claim_life=self._claim_life,
        )
        state, waiting, read = await self._state(endpoint), await self._waiting(endpoint), 0
        events: list[Missing] = []

        def recovered() -> Recovered:
            counts = missed.counts
            return Recovered(
                replay=redelivery.name,
                endpoint_state=state,
                waiting=waiting,
                read=read,
                concerning=counts["concerning"],
                settled=counts["settled"],
                not_entitled=counts["not entitled"],
                gone=counts["gone"] + redelivery.gone,
                redelivered=counts["due"] if dry_run else redelivery.sent,
            )

        if dry_run:
            first = await first_entry(self._connection)
            if first is None:
                return recovered()  # finding no end of an empty journal would take its seconds once more
            begins = None if first.ticket is None else Missing.of(first.ticket).published_at
        else:
            asked = {
                "replay": redelivery.name,
                "since": format_time(since),
                "until": until and format_time(until),
                "type": type_pattern,
                "everything": everything,
            }
            await self._note(act, "recovery begun", endpoint, asked)
        try:
            async with aclosing(stretches(self._connection, period, BATCH, on_progress)) as found:
                async for entries in found:
                    tickets = [
                        ticket for _, _, ticket in entries if ticket is not None and period.has(ticket)
                    ]
                    read += len(tickets)
                    due = await missed.of(tickets)
                    if dry_run:
                        events += (Missing.of(one.ticket) for one in due[: NAMED - len(events)])
                    else:
                        await redelivery.send(due)
        finally:
            if not dry_run:
                await self._note(act, "recovered", endpoint, recovered().counts())
        if not dry_run:
            return recovered()
        return replace(recovered(), events=tuple(events), journal_begins=begins)

    async def _receiver(self, endpoint_id: str) -> tuple[Endpoint, Participant]:
        endpoint, participant = await self._database.read(
            lambda sql: (
                found := endpoints.get(sql, endpoint_id),
                participants.get(sql, found.participant_id),
            )
        )
        if endpoint.removed_at is not None:
            raise NotFoundError("endpoint", f"{endpoint_id} was removed; there is nowhere to deliver to")
        return endpoint, participant

    async def _state(self, endpoint: Endpoint) -> State:
        if endpoint.state != "active":
            return endpoint.state
        held = (await Holds(self._store.connection).state([endpoint.id]))[endpoint.id].held
        return "held" if held else "active"

    async def _waiting(self, endpoint: Endpoint) -> int:
        queues = [topology.endpoint_queue(endpoint.id, n + 1) for n in range(endpoint.generation)]
        counts = await topology.message_counts(self._connection, queues)
        return sum(count.messages for count in counts.values() if count is not None)

    async def _note(self, act: Act, action: str, endpoint: Endpoint, told: audit.State) -> None:
        subject = Subject("endpoint", endpoint.id, endpoint.organisation_id)
        await self._database.run(lambda sql: audit.append(sql, act, action, subject, after=told))


def _check(type_pattern: str | None, rate: float | None) -> None:
    if type_pattern is not None:
        try:
            check_pattern(type_pattern)
        except InvalidInputError as wrong:
            raise InvalidInputError("type", wrong.reason) from wrong
    if rate is not None and not rate > 0:
        raise InvalidInputError("rate", "must be greater than 0")
