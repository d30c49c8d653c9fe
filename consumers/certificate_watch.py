"""Looking at the certificates that receivers show: each once a day, a few at a time, by one worker at a time.

It only notes what it sees: portals show that, and tell whom it concerns before one ends.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from claimbus.database import receiver_certificates
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.receiver_certificates import Certificate
from claimbus.events.errors import UnavailableError
from claimstore.leases import Leases
from consumers.webhook import Webhook

if TYPE_CHECKING:
    from sqlalchemy import Connection

START_AFTER: Final = 60.0
"""Seconds from a worker's start to its first round: what has waited for it is delivered first."""

LOOK_EVERY: Final = 600.0
"""Seconds between two rounds."""

AGAIN_AFTER: Final = timedelta(days=1)
"""From one look at a receiver to the next."""

AT_ONCE: Final = 100
"""Receivers looked at in a round, so up to 14,400 a day; they stay spread over the day as they were first."""

SIDE_BY_SIDE: Final = 4
"""Handshakes at a time. A round of receivers that all hang takes 250 s at the usual connect timeout."""

_log = structlog.get_logger("claimbus.consumers.certificates")


class CertificateWatch:
    """Looks at receivers as their webhooks would connect to them."""

    def __init__(
        self, database: Database, leases: Leases, webhook: Callable[[Endpoint], Webhook], *, worker: str
    ) -> None:
        self._database = database
        self._leases = leases
        self._webhook = webhook
        self._worker = worker

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        await asyncio.sleep(START_AFTER)
        while True:
            try:
                if await self._leases.take("certificates", self._worker, seconds=2 * LOOK_EVERY):
                    await self.look()
            except UnavailableError as away:
                _log.warning("certificates not looked at", reason=str(away), next="try again")
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> int:
        """Look at those that are due, and return how many these were. Raises UnavailableError."""
        before = datetime.now(UTC) - AGAIN_AFTER
        due = await self._database.read(lambda sql: receiver_certificates.due(sql, before, AT_ONCE))
        for start in range(0, len(due), SIDE_BY_SIDE):
            some = due[start : start + SIDE_BY_SIDE]
            shown = await asyncio.gather(*map(self._shown_to, some))
            await self._note(list(zip(some, shown, strict=True)))
        return len(due)

    async def _note(self, found: Sequence[tuple[Endpoint, Certificate | None]]) -> None:
        now = datetime.now(UTC)

        def noting(sql: "Connection") -> None:
            for endpoint, shown in found:
                receiver_certificates.note(sql, endpoint.id, endpoint.url or "", shown, now)

        await self._database.run(noting)

    async def _shown_to(self, endpoint: Endpoint) -> Certificate | None:
        """Return what an endpoint's receiver shows. A fault of ours is no reason to look at no others."""
        try:
            webhook = self._webhook(endpoint)
            try:
                return await webhook.certificate()
            finally:
                await webhook.aclose()
        except Exception:  # noqa: BLE001 - whatever it is: the rest must be looked at, and the worker go on
            _log.exception("certificate not looked at", endpoint=endpoint.id, next="look again in a day")
            return None
