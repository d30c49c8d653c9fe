"""From the database to RabbitMQ: each endpoint's queue, and the bindings that its participant is entitled to.

Bindings are made by the ISO's side from the database, never by the participant: the first of the three checks
of entitlement. They are dated in the database, so it can be told later what should have reached an endpoint.
Any number of processes may do this at once.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from claimbus.broker import removal, topology
from claimbus.broker.channel import Channel, QueueCounts
from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.database import bindings as dated
from claimbus.database import endpoints, participants
from claimbus.database.bindings import Bound
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.database.participants import EVERY_TYPE, Participant
from claimbus.events.catalogue import EVENT_TYPES
from claimbus.events.routing import Binding, bindings, matches


def wanted(endpoint: Endpoint, participant: Participant) -> frozenset[Binding]:
    """Return the bindings of what the endpoint is subscribed to and its participant may see.

    A participant to whom only some event types are open is bound to those one by one.
    """
    patterns: Iterable[str] = endpoint.subscriptions
    if not set(EVERY_TYPE) <= set(participant.event_types):
        patterns = (
            name
            for name in EVENT_TYPES
            if participant.is_entitled(name) and any(matches(one, name) for one in endpoint.subscriptions)
        )
    return frozenset(binding for one in patterns for binding in bindings(one, participant.id))


class Provision:
    """Keeps RabbitMQ's queues and bindings as the database wants them."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def give(self, endpoint_id: str, *, anew: bool = False, lost: bool = False) -> str:
        """Give an endpoint its queue and its bindings, no more and no fewer; return the queue's name.

        ``anew`` makes all bindings once more, should somebody have deleted some. A queue that was bound and
        is gone is made again only when it may be ``lost``: the quarantine knows what must follow.

        Raises NotFoundError, also for an endpoint that was removed, TopologyError, also for a queue that is
        gone, and UnavailableError; it can be tried again at any point.
        """
        endpoint, participant, bound = await self._database.read(
            lambda sql: (
                found := endpoints.get(sql, endpoint_id),
                participants.get(sql, found.participant_id),
                dated.current(sql, endpoint_id),
            )
        )
        if endpoint.removed_at is not None:
            raise NotFoundError("endpoint", f"{endpoint_id} was removed; it has no queue")
        queue = topology.endpoint_queue(endpoint.id, endpoint.generation)
        want, have = wanted(endpoint, participant), _of(bound, endpoint.generation)
        async with await self._connection.channel() as channel:
            if have and not lost:
                await channel.count(queue)  # declaring it would make it again, without its bindings
            else:
                await topology.declare_endpoint(
                    channel, endpoint.id, endpoint.generation, ordered=endpoint.ordered
                )
            new, stale = want - have, have - want
            await topology.bind_endpoint(channel, queue, endpoint.id, want if anew or lost else new)
            await self._note_bound(endpoint, new)
            began = datetime.now(UTC)
            for exchange, key in stale:
                await channel.unbind(queue, exchange, key)
            await self._note_unbound(endpoint.id, endpoint.generation, stale, began)
            for older in {one.generation for one in bound} - {endpoint.generation}:
                await self._unbind(channel, endpoint.id, older, _of(bound, older))
        return queue

    async def is_bound(self, endpoint: Endpoint) -> bool:
        """Tell whether the endpoint's queue is bound to anything, as far as the database knows."""
        return bool(_of(await self._bound(endpoint.id), endpoint.generation))

    async def is_made(self, endpoint: Endpoint) -> bool:
        """Tell whether the endpoint's queue can be consumed: all was made, or nothing is to be bound to it.

        RabbitMQ closes the connection (541) of whoever consumes a quorum queue that is just being declared.
        """
        participant, bound = await self._database.read(
            lambda sql: (
                participants.get(sql, endpoint.participant_id),
                dated.current(sql, endpoint.id),
            )
        )
        return bool(_of(bound, endpoint.generation)) or not wanted(endpoint, participant)

    async def unbind(self, endpoint: Endpoint) -> None:
        """Let nothing more into an endpoint's queue, even while it hangs; it keeps what it has."""
        bound = await self._bound(endpoint.id)
        async with await self._connection.channel() as channel:
            await self._unbind(channel, endpoint.id, endpoint.generation, _of(bound, endpoint.generation))

    async def remove(self, endpoint_id: str, generation: int, publisher: Publisher) -> int:
        """Delete one generation of a queue; what is left in it becomes dead letters, which are counted.

        Its workers must have stopped consuming. Raises UnavailableError; it can be tried again at any point.
        """
        have = _of(await self._bound(endpoint_id), generation)
        async with await self._connection.channel() as channel:
            await self._unbind(channel, endpoint_id, generation, have)
        queue = topology.endpoint_queue(endpoint_id, generation)
        return await removal.remove_endpoint(self._connection, publisher, queue, endpoint_id, have)

    async def older_queues(self, endpoint: Endpoint) -> list[int]:
        """Return the earlier generations of an endpoint whose queues are still there."""
        queues = {n: topology.endpoint_queue(endpoint.id, n) for n in range(1, endpoint.generation)}
        there = await self.counts(queues.values())
        return [generation for generation, queue in queues.items() if queue in there]

    async def counts(self, queues: Collection[str]) -> dict[str, QueueCounts]:
        """Return the ready tickets and consumers of each of these queues that is there."""
        if not queues:
            return {}
        counts = await topology.message_counts(self._connection, queues)
        return {queue: found for queue, found in counts.items() if found is not None}

    async def _unbind(
        self, channel: Channel, endpoint_id: str, generation: int, have: Collection[Binding]
    ) -> None:
        queue, began = topology.endpoint_queue(endpoint_id, generation), datetime.now(UTC)
        await topology.unbind_endpoint(channel, queue, endpoint_id, have)
        await self._note_unbound(endpoint_id, generation, have, began)

    async def _bound(self, endpoint_id: str) -> tuple[Bound, ...]:
        return await self._database.read(lambda sql: dated.current(sql, endpoint_id))

    async def _note_bound(self, endpoint: Endpoint, new: Collection[Binding]) -> None:
        """Date bindings after they are made: until then nothing is expected to come by them."""
        now = datetime.now(UTC)
        if new:
            await self._database.run(
                lambda sql: dated.record_bound(sql, endpoint.id, endpoint.generation, new, now)
            )

    async def _note_unbound(
        self, endpoint_id: str, generation: int, gone: Collection[Binding], began: datetime
    ) -> None:
        """Note that bindings are gone since it ``began``, once they are: who breaks off can go on."""
        if gone:
            await self._database.run(
                lambda sql: dated.record_unbound(sql, endpoint_id, generation, gone, began)
            )


def _of(bound: Iterable[Bound], generation: int) -> frozenset[Binding]:
    return frozenset(one.binding for one in bound if one.generation == generation)
