"""Which lanes a worker runs: as the database has the endpoints, and as the workers that are there share them.

A change of either is noticed at once or at the next reconcile.
"""

import asyncio
import zlib
from collections.abc import Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from claimbus.broker.errors import TopologyError
from claimbus.broker.patience import tries
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import endpoint_queue
from claimbus.database import endpoints
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import ClaimbusError, UnavailableError
from claimstore.quarantined import Quarantined
from consumers.crew import Crew
from consumers.gate import Happening
from consumers.lane import Lane
from consumers.provision import Provision
from consumers.share import Share
from consumers.yard import Yard

JOIN_WITHIN: Final = 2.0
"""Seconds over which workers join the queues of ordered endpoints, in an order of their own for each.

RabbitMQ gives such a queue to whom joins first and never rebalances: of 3 workers the first had all 20. So
who stands by joins so much later than who is wanted.
"""

AT_ONCE: Final = 16
"""Endpoints provisioned side by side."""

_log = structlog.get_logger("claimbus.consumers.roster")

Version = tuple[int, tuple[str, ...]]
"""What a lane depends on: the endpoint's revision, and the secrets that sign at the moment."""

_NONE: Final[Version] = (0, ())
"""That of a lane that must be replaced."""


class Roster:
    """Opens, replaces and closes lanes."""

    def __init__(
        self,
        database: Database,
        provision: Provision,
        publisher: Publisher,
        quarantined: Quarantined,
        yard: Yard,
        *,
        crew: Crew,
        grace: float,
    ) -> None:
        """Start with no lanes. ``grace`` is how long a closing lane has for what is in flight, in seconds."""
        self._database = database
        self._provision = provision
        self._publisher = publisher
        self._quarantined = quarantined
        self._crew = crew
        self._yard = yard
        self._grace = grace
        self._versions: dict[str, Version] = {}
        self._lanes: dict[str, list[Lane]] = {}
        self._older: set[tuple[str, int]] = set()
        self._left: list[Endpoint] = []
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that are open."""
        return [lane for lanes in list(self._lanes.values()) for lane in lanes]

    async def reconcile(self, *, anew: bool = False) -> None:
        """Have a queue for each endpoint, and a lane if it is to receive and this worker has a share of it.

        ``anew`` also makes all bindings once more. An endpoint that cannot be given its queue now is tried
        again the next time; a queue that is gone is made again by the quarantine. Raises UnavailableError
        when the database or Redis is away: everything stays as it is.
        """
        found = {one.id: one for one in await self._database.read(endpoints.find)}
        hanging = await self._quarantined.all()
        for gone in self._versions.keys() - found.keys():
            await self._forget(gone)
        places = asyncio.Semaphore(AT_ONCE)

        async def attend(endpoint: Endpoint) -> None:
            async with places:
                try:
                    await self._attend(endpoint, hanging=endpoint.id in hanging, anew=anew)
                except ClaimbusError as failed:
                    _log.warning("endpoint not provisioned", endpoint=endpoint.id, reason=str(failed))
                except Exception:  # noqa: BLE001 - whatever one endpoint does must not stop the others
                    _log.exception("endpoint not provisioned", endpoint=endpoint.id, next="try again")

        await asyncio.gather(*map(attend, found.values()))
        await self._clear_older(found)
        left, self._left = self._left, []
        for removed in left:
            self._ending(self._remove_all(removed))
        if anew:
            await self._remove_leftovers()

    def hear(self, endpoint_id: str, what: Happening) -> None:
        """Let an endpoint's lanes know what another worker announced."""
        for lane in self._lanes.get(endpoint_id, ()):
            self._ending(lane.hear(what))

    async def refresh(self) -> None:
        """Hand back what has been unacked for long, and take over the holds as all workers know them.

        In this order: the first must not wait for Redis, of which the second asks.
        """
        for lane in self.lanes:
            try:
                await lane.hand_back_the_old()
            except ClaimbusError as failed:
                _log.warning("lane stopped", queue=lane.queue, reason=str(failed), next="replace it")
                self._versions[lane.endpoint.id] = _NONE
        states = await self._yard.holds.state(self._lanes)
        for lane in self.lanes:
            if lane.endpoint.id in states:
                lane.learn(states[lane.endpoint.id])

    async def aclose(self) -> None:
        """Close all lanes: finish what is in flight, hand the rest back."""
        lanes, self._lanes = self.lanes, {}
        await asyncio.gather(*(lane.close(grace=self._grace) for lane in lanes))
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _attend(self, endpoint: Endpoint, *, hanging: bool, anew: bool) -> None:
        version = endpoint.revision, endpoint.signing_secrets(datetime.now(UTC))
        share = self._crew.share(endpoint) if _receives(endpoint) else None
        lanes = self._lanes.get(endpoint.id, [])
        changed = self._versions.get(endpoint.id) != version
        if not changed and bool(lanes) == (share is not None):
            if share is not None:
                self._retune(lanes, share)
            return
        if hanging and (changed or share is not None) and not await self._provision.is_bound(endpoint):
            return
        if changed:
            await self._provision.give(endpoint.id, anew=anew)
        await self._replace(endpoint, share)
        self._versions[endpoint.id] = version

    def _retune(self, lanes: list[Lane], share: Share) -> None:
        """Have an endpoint's lanes go by a share; one that has another worker's turn gives way to it."""
        for number, lane in enumerate(lanes):
            lane.retune(share)
            is_ordered = lane.endpoint.ordered and lane.generation == lane.endpoint.generation
            if is_ordered and lane.served and share.place > 0:
                lanes[number] = behind = Lane(lane.endpoint, lane.generation, self._yard, share)
                self._ending(self._give_way(lane, behind))

    async def _give_way(self, lane: Lane, behind: Lane) -> None:
        """Go on until ``behind`` stands by, and then stop.

        Should the worker that is wanted join later still, ``behind`` gives way in turn.
        """
        try:
            await self._join(behind)
        except ClaimbusError:
            self._versions[lane.endpoint.id] = _NONE
            raise
        finally:
            await lane.close(grace=self._grace)

    async def _replace(self, endpoint: Endpoint, share: Share | None) -> None:
        older = await self._provision.older_queues(endpoint)
        self._older |= {(endpoint.id, generation) for generation in older}
        new: list[Lane] = []
        if share is not None:
            generations = (*older, endpoint.generation)
            new = [Lane(endpoint, generation, self._yard, share) for generation in generations]
            try:
                for lane in new:
                    if endpoint.ordered:
                        self._ending(self._join(lane))
                    else:
                        await lane.open()
            except BaseException:
                self._close(new)
                raise
        self._close(self._lanes.pop(endpoint.id, []))
        if new:
            self._lanes[endpoint.id] = new

    async def _join(self, lane: Lane) -> None:
        fraction = zlib.crc32(f"{self._yard.worker} {lane.endpoint.id}".encode()) / 2**32
        await lane.linger((lane.share.place + fraction) * JOIN_WITHIN)
        async for attempt in tries(f"joining {lane.queue}", TopologyError, UnavailableError):
            with attempt:
                await lane.open()

    async def _forget(self, endpoint_id: str) -> None:
        """Stop receiving for an endpoint that was removed; what is left in its queue becomes dead letters."""
        closing = self._close(self._lanes.pop(endpoint_id, []))
        endpoint = await self._database.read(lambda sql: endpoints.get(sql, endpoint_id))
        await asyncio.gather(*closing, return_exceptions=True)
        await self._yard.holds.clear(endpoint_id)
        await self._yard.progress.clear(endpoint_id)
        del self._versions[endpoint_id]  # not before: what failed until here is done again
        self._ending(self._remove_all(endpoint))

    async def _clear_older(self, found: Mapping[str, Endpoint]) -> None:
        """Empty the queues of earlier generations, and delete each once nobody has anything of it."""
        for endpoint_id, generation in sorted(self._older):
            try:
                await self._clear(endpoint_id, generation, found.get(endpoint_id))
            except ClaimbusError as failed:  # another worker was faster, or it cannot be done now
                reason = str(failed)
                _log.warning("older queue not cleared", endpoint=endpoint_id, reason=reason, next="try again")

    async def _clear(self, endpoint_id: str, generation: int, endpoint: Endpoint | None) -> None:
        queue = endpoint_queue(endpoint_id, generation)
        counts = (await self._provision.counts([queue])).get(queue)
        lanes = self._lanes.get(endpoint_id, [])
        mine = next((lane for lane in lanes if lane.generation == generation), None)
        if counts is None or endpoint is None:
            self._older.discard((endpoint_id, generation))
            if mine is not None:
                lanes.remove(mine)
                self._close([mine])
        elif counts.messages or (mine is not None and mine.unacked):
            if mine is None and lanes:
                mine = Lane(endpoint, generation, self._yard, lanes[0].share)
                await mine.open()
                lanes.append(mine)
        elif mine is not None:
            lanes.remove(mine)
            await asyncio.gather(*self._close([mine]))
        elif not counts.consumers:
            await self._remove(endpoint, [generation])

    async def _remove_leftovers(self) -> None:
        """Delete what is left of endpoints that were removed while no worker ran."""
        everything = await self._database.read(lambda sql: endpoints.find(sql, removed=True))
        for endpoint in everything:
            if endpoint.removed_at is not None:
                queue = endpoint_queue(endpoint.id, endpoint.generation)
                older = await self._provision.older_queues(endpoint)
                current = await self._provision.counts([queue])
                if older or current:
                    self._ending(self._remove_all(endpoint))

    async def _remove_all(self, endpoint: Endpoint) -> None:
        """Remove what a removed endpoint leaves; what cannot be done now, at the next reconcile."""
        try:
            await self._remove(endpoint, range(1, endpoint.generation + 1))
        except ClaimbusError:
            self._left.append(endpoint)
            raise

    async def _remove(self, endpoint: Endpoint, generations: Iterable[int]) -> None:
        for generation in generations:
            left = await self._provision.remove(endpoint.id, generation, self._publisher)
            _log.info("queue removed", endpoint=endpoint.id, generation=generation, dead_letters=left)

    def _close(self, lanes: Iterable[Lane]) -> list[asyncio.Task[None]]:
        return [self._ending(lane.close(grace=self._grace)) for lane in lanes]

    def _ending(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._endings.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("not done", reason=str(error), exc_info=not isinstance(error, ClaimbusError))


def _receives(endpoint: Endpoint) -> bool:
    """Tell whether workers deliver to it at the moment."""
    return endpoint.kind == "webhook" and endpoint.state == "active"
