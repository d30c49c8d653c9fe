"""One organisation that has something of everything, each thing with a mark in it, and one beside it."""

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from claimbus.cli.ports import PortRange
from claimbus.cli.settings import Settings
from claimbus.database import endpoints, entitlements, parked, participants, recoveries, replays
from claimbus.database.access import Role
from claimbus.database.audit import Act
from claimbus.database.entitlements import Entitlement
from claimbus.database.recoveries import Recovery
from tests.deadletters.stage import event
from tests.portal import seeding
from tests.portal.asking import Program, asking
from tests.portal.portals import ACT, Portal, open_portal
from tests.producers.bus import closed
from tests.services import required

MARK = "zqalpha"
"""Stands in everything that is the organisation's, in whatever case, and nowhere else."""

OWNER, ORGANISATION, SIBLING = MARK.upper(), f"{MARK} Inc", f"{MARK.upper()}2"
OTHER, OTHERS = "BETA", "Beta Inc"
OPERATOR = "olga"
WHY = f"because of {MARK}"
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
BODY = f"{MARK} is in the body"
NOWHERE = f"https://{MARK}.invalid/{MARK}?key={MARK}"


@dataclass
class Scene:
    """A portal with both, and a program at it. ``names`` are the things to ask for by now.

    ``url`` and ``ca_pem`` are those of the receiver behind the organisation's webhooks.
    """

    portal: Portal
    program: Program
    url: str
    ca_pem: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    def fill(self, text: str) -> str:
        """Put the things in, for their names in braces."""
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def settle(self) -> None:
        """Let both organisations move in."""
        for name, organisation in ((OWNER, ORGANISATION), (SIBLING, ORGANISATION), (OTHER, OTHERS)):
            self.portal.participant(name, organisation=organisation)
        with self.portal.services.database.transaction() as sql:
            participants.add_contact(sql, ORGANISATION, f"{MARK}@{MARK}.example", Act("kay", WHY))
            entitlements.put(sql, [Entitlement(OWNER, OWNER, BEGAN)], Act("kay", WHY))
        seeding.endpoint(self.portal, OTHER, "own")

    async def renew(self) -> None:
        """Put new things in the place of those that may be used up: each request is to find its own."""
        number, portal = next(self._numbers), self.portal
        at = seeding.endpoint(portal, OWNER, f"{MARK} {number}", url=self.url, ca_pem=self.ca_pem)
        recovering = seeding.endpoint(portal, OWNER, f"{MARK} recovering {number}")
        running = _running(f"rv_{number}", recovering.id)
        body = f'{{"text": "{BODY}"}}'.encode()
        there = seeding.cemetery(portal)
        dead, lined_up, delivered = (event(OWNER, body=body) for _ in range(3))
        letter, other = await there.bury(at, dead, lined_up, detail=f"{MARK} said no")
        [ticket] = await there.tickets(delivered)
        tried = seeding.attempt(
            at,
            message_id=ticket.message_id,
            claim_id=ticket.claim_id,
            type=ticket.type,
            detail=MARK,
            answer_head=MARK.encode(),
            partitionkey=MARK,
            source=f"urn:{MARK}",
        )
        seeding.record(portal, tried)
        waiting = closed(number, source=f"urn:{MARK}:{at.id}")
        with portal.services.database.transaction() as sql:
            endpoints.change(sql, at.id, Act("kay", WHY), timeout_s=2.0)
            job = replays.create(sql, [other.id], Act("kay", WHY), selection={}, rate=None, canary=False)
            recoveries.begin(sql, running)
            parked.park(sql, [(f"{MARK}_RESOURCE", waiting)], ACT.at)
            participants.add_contact(sql, ORGANISATION, f"{MARK}{number}@contacts.example", ACT)
            entitlements.put(sql, [Entitlement(f"{MARK}_{number}", OWNER, BEGAN)], ACT)
        self.names |= {
            "participant_id": OWNER,
            "endpoint_id": at.id,
            "message_id": ticket.message_id,
            "claim_id": ticket.claim_id,
            "letter_id": letter.id,
            "replay_id": job.id,
            "recovery_id": running.id,
            "recovering_id": recovering.id,
            "parked_id": waiting.identity,
            "resource_id": f"RESOURCE_{number}",
            "ending_id": f"{MARK}_{number}",
            "began": BEGAN.isoformat(),
            "contact": f"{MARK}{number}@contacts.example",
            "name": "market.dam.closed",
            "number": str(number),
            "word": "".join("abcdefghij"[int(digit)] for digit in str(number)),
            "url": self.url,
        }


def _running(id_: str, endpoint_id: str) -> Recovery:
    """A recovery that no portal runs, though it gives signs for an hour."""
    now = datetime.now(UTC)
    return Recovery(
        id=id_,
        endpoint_id=endpoint_id,
        participant_id=OWNER,
        actor="kay",
        reason=WHY,
        since=BEGAN,
        until=None,
        type=None,
        everything=False,
        begun_at=now,
        beat_at=now + timedelta(hours=1),
    )


@asynccontextmanager
async def open_scene(
    directory: Path,
    amqp_url: str,
    *,
    redis_url: str | None = None,
    url: str = NOWHERE,
    ca_pem: str | None = None,
) -> AsyncIterator[Scene]:
    """A scene in a portal of its own, until the end of the block; its program is an operator's."""
    settings = Settings(
        environment="test",
        amqp_url=amqp_url,
        redis_url=redis_url or required("CLAIMBUS_REDIS_URL"),
        key_prefix=f"test:{uuid.uuid4().hex[:12]}:",
        database_url=f"sqlite:///{directory / 'claimbus.db'}",
        portal_listen="127.0.0.1:0",
        portal_rate=0.0,
        webhook_networks=(ip_network("127.0.0.0/8"),),
        webhook_ports=(PortRange(1, 65535),),
    )
    async with open_portal(settings, directory) as portal:
        token = portal.token(Role.OPERATOR, name=OPERATOR)
        async with asking(portal, token) as program:
            scene = Scene(portal, program, url, ca_pem)
            scene.settle()
            await scene.renew()
            yield scene
