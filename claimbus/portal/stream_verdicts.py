"""What follows from a verdict on a stream's delivery: its row, then the ack, a retry or a dead letter."""

from collections.abc import Callable, Coroutine
from typing import Any

from claimbus.database.endpoint import Endpoint
from claimbus.portal.stream_supply import Supply
from consumers.retry import Retry, RetryPolicy, next_step
from consumers.verdict import Verdict
from consumers.work import Trial, Work


class Verdicts:
    """Sees to what was judged.

    ``tickets`` is how many may be unacked. ``done`` is called with a delivery that has left our hands,
    ``again`` with one of an ordered endpoint, which is sent again before any other. ``spawn`` runs a task.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        supply: Supply,
        *,
        tickets: int,
        done: Callable[[Work], None],
        again: Callable[[Work], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.pending: set[Work] = set()
        """Judged, and not done with."""
        self._supply = supply
        self._tickets = tickets
        self._tell_done = done
        self._again = again
        self._spawn = spawn
        self.learn(endpoint)

    def learn(self, endpoint: Endpoint) -> None:
        """Go by an endpoint's settings as they are now."""
        self._endpoint = endpoint
        self._policy = RetryPolicy(ladder=self._supply.ladder, age_limit=endpoint.age_limit_s)

    def judge(self, work: Work, trial: Trial) -> None:
        """See to what follows from how a delivery was tried."""
        self.pending.add(work)
        if trial.outcome.verdict is Verdict.DELIVERED and self._endpoint.latest_only:
            self._spawn(self._note_latest(work, trial))
        else:
            self._dispose(work, trial)

    async def _note_latest(self, work: Work, trial: Trial) -> None:
        if trial.event is not None:
            await self._supply.handler.delivered(self._endpoint, trial.event)
        self._dispose(work, trial)

    def _dispose(self, work: Work, trial: Trial) -> None:
        age = trial.started - work.ticket.age_begins
        step = next_step(trial.outcome, attempt=work.attempts, age=age, probe=False, policy=self._policy)
        if isinstance(step, Retry) and self._endpoint.ordered:
            self._spawn(self._retry_in_place(work, trial, step))
            return
        # When half of the tickets wait for their rows, less comes than could be sent.
        urgent = 2 * len(self.pending) >= self._tickets
        self._supply.disposition.dispose(self._endpoint, work, trial, step, self._done, urgent=urgent)

    def _done(self, work: Work) -> None:
        self.pending.discard(work)
        self._tell_done(work)

    async def _retry_in_place(self, work: Work, trial: Trial, step: Retry) -> None:
        await self._supply.head.put_off(self._endpoint, work, trial, step)
        self.pending.discard(work)
        self._again(work)
