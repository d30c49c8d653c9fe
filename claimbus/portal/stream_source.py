"""Where a stream's deliveries come from: its endpoint's queue, and older ones of it until they are empty."""

from claimbus.broker.connections import Connections
from claimbus.broker.consumer import Consumer, OnDelivery, OnVoid
from claimbus.broker.errors import TopologyError
from claimbus.broker.topology import endpoint_queue
from claimbus.database.endpoint import Endpoint
from consumers.provision import Provision


class Source:
    """Consumes for one stream, on a channel of its own for each queue."""

    def __init__(
        self,
        connections: Connections,
        provision: Provision,
        *,
        prefetch: int,
        on_delivery: OnDelivery,
        on_void: OnVoid,
    ) -> None:
        self._connections = connections
        self._provision = provision
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._on_void = on_void
        self._consumers: dict[int, Consumer] = {}

    @property
    def consuming(self) -> bool:
        """Whether deliveries can come at this moment."""
        return bool(self._consumers) and all(one.consuming for one in self._consumers.values())

    async def open(self, endpoint: Endpoint) -> None:
        """Consume the endpoint's queue. Raises TopologyError when it is not there yet, UnavailableError."""
        if not await self._provision.is_made(endpoint):
            raise TopologyError(f"no worker made {endpoint_queue(endpoint.id, endpoint.generation)} yet")
        await self._consume(endpoint, endpoint.generation)

    async def attend_older(self, endpoint: Endpoint) -> None:
        """Consume what is left in queues of earlier generations, and leave those alone that are empty.

        A worker deletes these. Raises TopologyError and UnavailableError.
        """
        queues = {n: endpoint_queue(endpoint.id, n) for n in range(1, endpoint.generation)}
        counts = await self._provision.counts(queues.values())
        for generation, queue in queues.items():
            left = queue in counts and counts[queue].messages
            consumer = self._consumers.get(generation)
            if left and consumer is None:
                await self._consume(endpoint, generation)
            elif not left and consumer is not None and not consumer.unsettled:
                await self._consumers.pop(generation).stop()

    def pause(self) -> None:
        """Have no more deliveries come; those that came can still be settled."""
        for consumer in self._consumers.values():
            consumer.pause()

    async def close(self) -> None:
        """Hand everything back that is unsettled."""
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            await consumer.stop()

    async def _consume(self, endpoint: Endpoint, generation: int) -> None:
        consumer = Consumer(await self._connections.roomy())
        await consumer.start(
            endpoint_queue(endpoint.id, generation),
            prefetch=1 if endpoint.ordered else self._prefetch,
            on_delivery=self._on_delivery,
            on_void=self._on_void,
        )
        self._consumers[generation] = consumer
