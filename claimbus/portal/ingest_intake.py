"""What becomes of an event that an ISO system sends: whose it is, whom it may name, and publishing it."""

import asyncio
import hashlib
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from claimbus.database import audit, participants
from claimbus.database.access import OURS, OWN_SYSTEMS, Principal, system_of
from claimbus.database.audit import Act, Subject
from claimbus.database.engine import Database
from claimbus.events.catalogue import admit
from claimbus.events.errors import ClaimbusError, InvalidEventError, InvalidInputError
from claimbus.events.event import ALL, Event
from claimbus.portal.problems import ProblemError
from claimstore.claim import new_claim_id
from claimstore.identities import Confirmed, Identities
from producers.producer import Producer, Receipt

Outcome = Receipt | ClaimbusError
"""What became of one event of several."""


class _KnownError(Exception):
    """A body that came as a stream is that of an event that was published before."""


class Intake:
    """Publishes for publishers, each under sources of its own, and leaves a row in the audit each time."""

    def __init__(
        self,
        database: Database,
        producer: Producer,
        identities: Identities,
        *,
        sources: Callable[[str], str],
        max_body: int,
        registry: CollectorRegistry,
    ) -> None:
        """Wire it; ``sources`` gives the source of an ISO system, ``max_body`` is the store's limit."""
        self.max_body: Final = max_body
        self._database = database
        self._producer = producer
        self._identities = identities
        self._sources = sources
        self._participants: frozenset[str] = frozenset()
        self._published = Counter(
            "claimbus_ingested", "Events published over the portal", ["type"], registry=registry
        )

    def source_of(self, publisher: Principal) -> str:
        """Return the source of a publisher, the ISO system that its token or certificate is named after."""
        system = system_of(publisher.name)
        if not system or system in OWN_SYSTEMS:  # from before such names were refused
            raise ProblemError(403, "your credential's name names no source of your own")
        return self._sources(system)

    async def check(self, event: Event, publisher: Principal) -> None:
        """Check what can be said before the body is there: source, type and audience.

        Raises InvalidEventError, ProblemError for what is not the publisher's, and DatabaseUnavailableError.
        """
        own = self.source_of(publisher)
        if event.source != own and not event.source.startswith(f"{own}:"):
            raise ProblemError(
                403, f"is not yours; that is {own}, and what begins with {own}:", field="source"
            )
        if event.type.startswith(OURS):
            raise ProblemError(403, "only the bus itself publishes events of this type", field="type")
        if not publisher.may_publish(event.type):
            open_ones = ", ".join(sorted(publisher.publishes))
            raise ProblemError(403, f"is not yours to publish; that is {open_ones}", field="type")
        if event.audience != ALL and not event.audience <= self._participants:
            found = await self._database.read(participants.find)
            self._participants = frozenset(one.id for one in found)
            if unknown := event.audience - self._participants:
                raise InvalidEventError("audience", f"there is no participant {', '.join(sorted(unknown))}")

    async def publish(self, event: Event, publisher: Principal) -> Receipt:
        """Publish an event that was checked. Raises what `Producer.publish` does."""
        receipt = await self._counted(event)
        await self._note_one(event, receipt, publisher)
        return receipt

    async def publish_stream(self, event: Event, body: AsyncIterable[bytes], publisher: Principal) -> Receipt:
        """Publish an event that was checked and whose body is no JSON, with flat memory.

        Raises what `Producer.publish` does, and what ``body`` raises; then nothing was published.
        """
        try:
            receipt = await self._producer.publish_stream(event, self._identified(event.identity, body))
        except _KnownError:
            receipt = Receipt(event.identity, published=False)
        else:
            await self._identities.confirm([event.identity])
            self._published.labels(event.type).inc()
        await self._note_one(event, receipt, publisher)
        return receipt

    async def publish_all(
        self, events: Sequence[Event | ClaimbusError], publisher: Principal
    ) -> list[Outcome]:
        """Publish those that are fit for it; tell what became of each, in their order.

        Events of one source and ``partitionkey`` go in order, others side by side. After one that may succeed
        later, none of its key is tried.
        """
        outcomes: dict[int, Outcome] = {}
        by_key: defaultdict[tuple[str, str], list[tuple[int, Event]]] = defaultdict(list)
        for number, given in enumerate(events):
            if isinstance(given, ClaimbusError):
                outcomes[number] = given
                continue
            try:
                event = admit(given)
                await self.check(event, publisher)
            except (InvalidInputError, ProblemError) as refused:
                outcomes[number] = refused
            else:
                by_key[event.source, event.partitionkey or event.id].append((number, event))

        async def in_order(several: Sequence[tuple[int, Event]]) -> None:
            failed: ClaimbusError | None = None
            for number, event in several:
                try:
                    outcomes[number] = failed or await self._counted(event)
                except InvalidInputError as refused:
                    outcomes[number] = refused
                except ClaimbusError as error:
                    outcomes[number] = failed = error

        await asyncio.gather(*map(in_order, by_key.values()))
        found = [outcomes[number] for number in range(len(events))]
        receipts = [one for one in found if isinstance(one, Receipt)]
        if receipts:
            counts = Tally("published" if one.published else "duplicates" for one in receipts)
            after = {**counts, "refused": len(found) - len(receipts)}
            await self._note(Subject("batch", receipts[0].message_id), after, publisher)
        return found

    async def _counted(self, event: Event) -> Receipt:
        receipt = await self._producer.publish(event)
        if receipt.published:
            self._published.labels(event.type).inc()
        return receipt

    async def _identified(self, message_id: str, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield the body; at its end, before anything of it counts, see whether it was published before."""
        digest = hashlib.sha256()
        async for piece in body:
            digest.update(piece)
            yield piece
        standing = await self._identities.begin(message_id, digest.digest(), new_claim_id())
        if isinstance(standing, Confirmed):
            raise _KnownError

    async def _note_one(self, event: Event, receipt: Receipt, publisher: Principal) -> None:
        after = {"type": event.type, "source": event.source, "id": event.id}
        subject = Subject("event", receipt.message_id)
        await self._note(subject, after | {"duplicate": not receipt.published}, publisher)

    async def _note(self, subject: Subject, after: Mapping[str, object], publisher: Principal) -> None:
        act = Act(publisher.name)
        await self._database.run(lambda sql: audit.append(sql, act, "published", subject, after=after))
