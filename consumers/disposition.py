"""After an attempt: its row in the database, then what becomes of the delivery, then the ack.

Nothing is acked before its attempt is recorded, and a retry or a dead letter is confirmed by RabbitMQ before
the delivery that it replaces is acked. A crash anywhere between repeats the delivery; it never loses it.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from claimbus.broker.codec import Letter
from claimbus.broker.consumer import Delivery
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Rung
from claimbus.database.attempts import Attempt, new_id
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import ClaimbusError
from consumers.metrics import AttemptMetrics
from consumers.recorder import Recorder
from consumers.retry import Ack, DeadLetter, Disable, Retry, Step
from consumers.verdict import Verdict
from consumers.work import Trial, Work

SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
"""Seconds between tries to have a retry or a dead letter confirmed."""

Done = Callable[[Work], None]
"""Called when a delivery has left our hands."""

_log = structlog.get_logger("claimbus.consumers.disposition")
_alarms = frozenset({Verdict.MISSING, Verdict.CORRUPT})


class Disposition:
    """Disposes of deliveries for all lanes of a worker, or all streams of a portal."""

    def __init__(
        self, recorder: Recorder, publisher: Publisher, ladder: tuple[Rung, ...], metrics: AttemptMetrics
    ) -> None:
        self._recorder = recorder
        self._publisher = publisher
        self._ladder = ladder
        self._metrics = metrics
        self._carrying: set[asyncio.Task[None]] = set()

    async def ready(self) -> None:
        """Wait until the database takes rows: without it no attempt is made."""
        await self._recorder.ready()

    def dispose(
        self, endpoint: Endpoint, work: Work, trial: Trial, step: Step, done: Done, *, urgent: bool = False
    ) -> None:
        """Record the attempt, then carry out ``step``; ``urgent``, as for an ordered endpoint: at once."""
        row = self._row(endpoint, work, trial, step)
        self._recorder.record(
            row,
            lambda: self._carry_out(endpoint, work, trial, step, done),
            urgent=urgent or endpoint.ordered,
        )

    async def record(self, endpoint: Endpoint, work: Work, trial: Trial, step: Step) -> None:
        """Record the attempt and return when that is done; nothing else happens."""
        recorded = asyncio.Event()
        self._recorder.record(self._row(endpoint, work, trial, step), recorded.set, urgent=True)
        await recorded.wait()

    def refuse(self, delivery: Delivery, endpoint: Endpoint, reason: str) -> None:
        """Make an undecodable ticket a dead letter with its bytes. There is no attempt to record."""
        letter = Letter(
            body=delivery.body,
            ticket=None,
            endpoint=endpoint.id,
            cause="undecodable",
            detail=reason,
            attempts=0,
            died=int(time.time()),
        )
        _log.error("undecodable ticket", endpoint=endpoint.id, reason=reason, next="dead letter")
        self._replace(delivery, lambda: self._publisher.publish_letter(letter), lambda: None)

    async def aclose(self, *, within: float) -> None:
        """Wait for the retries and dead letters that are not confirmed yet, at most so many seconds."""
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=within)
        for task in self._carrying:
            task.cancel()

    def _row(self, endpoint: Endpoint, work: Work, trial: Trial, step: Step) -> Attempt:
        ticket, event, answer, outcome = work.ticket, trial.event, trial.answer, trial.outcome
        delivered = outcome.verdict is Verdict.DELIVERED
        log = _log.info if outcome.verdict not in _alarms else _log.error
        log(
            "attempt",
            verdict=outcome.verdict.value,
            next=str(step),
            endpoint=endpoint.id,
            participant=endpoint.participant_id,
            message_id=ticket.message_id,
            claim_id=ticket.claim_id,
            type=ticket.type,
            attempt=work.attempts,
            status=answer and answer.status,
            duration_ms=answer and answer.duration_ms,
            detail=None if delivered else outcome.detail,
        )
        latency = trial.started - event.time.timestamp() if delivered and event is not None else None
        self._metrics.attempted(outcome.verdict, step, latency)
        return Attempt(
            started_ms=int(trial.started * 1000),
            id=new_id(),
            endpoint_id=endpoint.id,
            message_id=ticket.message_id,
            verdict=outcome.verdict.value,
            participant_id=endpoint.participant_id,
            type=ticket.type,
            claim_id=ticket.claim_id,
            attempt=work.attempts,
            status=None if answer is None else answer.status,
            duration_ms=0 if answer is None else answer.duration_ms,
            next=str(step),
            detail=None if delivered else outcome.detail,
            answer_head=None if delivered or answer is None else answer.head,
            replay=ticket.replay,
            source="" if event is None else event.source,
            event_id="" if event is None else event.id,
            partitionkey=ticket.partitionkey,
            sequence=ticket.sequence,
        )

    def _carry_out(self, endpoint: Endpoint, work: Work, trial: Trial, step: Step, done: Done) -> None:
        match step:
            case Retry(rung=rung):
                ticket = replace(work.ticket, endpoint=endpoint.id, attempt=work.attempts)
                self._replace(
                    work.delivery,
                    lambda: self._publisher.publish_retry(ticket, self._ladder[rung]),
                    lambda: done(work),
                )
            case DeadLetter(cause=cause):
                letter = Letter(
                    body=work.delivery.body,
                    ticket=work.ticket,
                    endpoint=endpoint.id,
                    cause=cause,
                    detail=trial.outcome.detail,
                    attempts=work.attempts,
                    status=None if trial.answer is None else trial.answer.status,
                    died=int(time.time()),
                )
                self._replace(
                    work.delivery, lambda: self._publisher.publish_letter(letter), lambda: done(work)
                )
            case Disable():
                work.delivery.requeue()
                done(work)
            case Ack():
                work.delivery.ack()
                done(work)

    def _replace(
        self, delivery: Delivery, publish: Callable[[], Awaitable[None]], done: Callable[[], None]
    ) -> None:
        task = asyncio.create_task(_carry_through(delivery, publish, done))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)


async def _carry_through(
    delivery: Delivery, publish: Callable[[], Awaitable[None]], done: Callable[[], None]
) -> None:
    """Publish what replaces a delivery until it is confirmed, then ack the delivery."""
    pause = SHORTEST_PAUSE
    while not delivery.void:
        try:
            await publish()
        except ClaimbusError as unconfirmed:
            _log.warning("unconfirmed", next="publish again", reason=str(unconfirmed))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            delivery.ack()
            break
    done()
