"""An ISO on an ordinary day, for pictures: its participants, who is held, and what was given up.

Everybody and every resource is invented; the IDs are of the kind that an ISO gives.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from claimbus.cli.demo.receivers import Behaviour
from claimbus.database import endpoints, outcomes, parked, replays
from claimbus.database.access import Role
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from claimbus.events.event import audience_of
from tests.browser.past import DAY, LADDER, REFUSED, Failure, attempt, bury, event_for
from tests.browser.places import MINUTE, Place, build, hold, its_day, move_in
from tests.browser.system import System

HOUR: Final = timedelta(hours=1)
SEED: Final = 20
UAA: Final = "Ana Pacheco"
OPERATOR: Final = "Ingrid Olsen"

ORGANISATIONS: Final[dict[str, tuple[str, ...]]] = {
    "Pacific Example Power": ("PGAE", "PGAE_TRADING", "PGAE_HYDRO"),
    "Southern Example Edison": ("SCEC", "SCEC_STORAGE"),
    "San Diego Example": ("SDGE", "SDGE_TRADING", "SDGE_SOLAR"),
    "Example Department of Water and Power": ("LDWP",),
    "Northern Example Power Agency": ("NCPA",),
}
RESOURCES: Final[dict[str, tuple[str, ...]]] = {
    "PGAE": ("SUNRIV_2_UNIT 1", "SUNRIV_2_UNIT 2", "CEDARF_7_CC 1", "BAYRDG_1_WIND", "MARBLE_6_GT 4"),
    "PGAE_HYDRO": ("LONGCR_2_PS 1", "LONGCR_2_PS 2", "ELKFLT_7_HYD 3"),
    "SCEC": ("MESAVW_5_CC 2", "PALMPT_6_UNIT 3", "DRYLKE_1_SOLAR"),
    "SCEC_STORAGE": ("DRYLKE_1_BESS 1", "DRYLKE_1_BESS 2"),
    "SDGE": ("OTAYHL_2_CC 1", "CORONA_7_GT 2"),
    "SDGE_SOLAR": ("BORREG_1_SOLAR",),
    "LDWP": ("HARBRD_5_UNIT 8", "SYLMAR_2_HYD 1"),
    "NCPA": ("GEYSRV_6_UNIT 2", "LODIEC_7_CC 1"),
}

UNKNOWN: Final = Failure(
    "rejected",
    "HTTP 422",
    422,
    b'{"error": "unknown resource", "resource_id": "DRYLKE_1_SOLAR", "request": "b27f90"}',
)
TOO_LARGE: Final = Failure("rejected", "HTTP 413", 413, b"413 Request Entity Too Large")
OVERLOADED: Final = Failure("failed", "HTTP 503", 503, b"upstream is restarting", next="retry in 30 s")
SILENT: Final = Failure("failed", "connect: connection timed out", took_ms=5003, next="retry in 30 s")
UNTRUSTED: Final = Failure("failed", "tls: certificate has expired", took_ms=41, next="retry in 30 s")
TOO_OLD: Final = Failure("expired", "over the endpoint's age limit")

PLACES: Final = (
    Place("PGAE", "Control room", {"url": "https://events.pacific.example/outages", "ordered": True}, 62),
    Place("PGAE", "Market desk", {"url": "https://desk.pacific.example/hooks/iso", "latest_only": True}, 28),
    Place("PGAE", "Outage archive", {}, 18),
    Place(
        "PGAE",
        "Old gateway",
        {"url": "https://gateway.pacific.example/in"},
        9,
        "paused",
        hours=5,
        why="moves to the new data centre",
    ),
    Place("PGAE", "New vendor", {"url": "https://hooks.vendor.example/pacific"}, 0, "pending"),
    Place(
        "PGAE_TRADING",
        "Trading floor",
        {"url": "https://floor.pacific.example/iso"},
        34,
        failure=SILENT,
        hours=1.55,
    ),
    Place("PGAE_HYDRO", "Hydro desk", {}, 11),
    Place(
        "SCEC",
        "Scheduling system",
        {"url": "https://sched.southern.example/iso"},
        46,
        failure=UNKNOWN,
        share=0.06,
    ),
    Place("SCEC", "Grid operations", {"url": "https://grid.southern.example/events"}, 38),
    Place("SDGE", "Gateway", {"url": "https://gw.sandiego.example/iso", "mode": "claim"}, 24),
    Place(
        "SDGE_TRADING",
        "Outage desk",
        {"url": "https://outages.sandiego.example/in"},
        21,
        failure=OVERLOADED,
        hours=0.45,
    ),
    Place("LDWP", "Energy control centre", {"url": "https://ecc.waterpower.example/iso"}, 30),
    Place(
        "LDWP",
        "Former portal",
        {"url": "https://old.waterpower.example/iso"},
        3,
        "disabled",
        hours=20,
        why="410 Gone: HTTP 410",
    ),
    Place(
        "NCPA",
        "Member gateway",
        {"url": "https://members.northern.example/events"},
        16,
        failure=UNTRUSTED,
        hours=6.2,
    ),
)
HELD: Final = (
    ("Member gateway", timedelta(hours=6.1), UNTRUSTED, 348),
    ("Trading floor", timedelta(hours=1.5), SILENT, 164),
    ("Outage desk", timedelta(minutes=26), OVERLOADED, 93),
)
"""Which are held, since when, why, and how many deliveries come meanwhile: a worker keeps the first few."""

UNREAD: Final = 7
"""Deliveries that wait for a stream to which nobody is connected now."""

RECEIVING: Final[tuple[tuple[str, str, tuple[Behaviour, ...]], ...]] = (
    ("SDGE_SOLAR", "Solar desk", ()),
    ("SCEC_STORAGE", "Battery desk", (Behaviour(kind="slow", seconds=0.03),)),
)
"""Who really receives: whose, its name, how it behaves."""

Ages = Callable[[int, random.Random], list[timedelta]]


def _more_and_more(count: int, dice: random.Random) -> list[timedelta]:
    return [DAY * (0.92 * dice.random() ** 2.2 + 0.002) for _ in range(count)]


def _at_once(count: int, dice: random.Random) -> list[timedelta]:
    return [min(max(dice.gauss(9, 1.3), 4), 14) * HOUR for _ in range(count)]


def _now_and_then(count: int, dice: random.Random) -> list[timedelta]:
    return [DAY * ((number + 0.2 + 0.6 * dice.random()) / count) for number in range(count)]


def _before_the_pause(count: int, dice: random.Random) -> list[timedelta]:
    return [(5.2 + 3 * dice.random()) * HOUR for _ in range(count)]


class Lot(NamedTuple):
    """Dead letters of one endpoint, by its name: how many, why, when, and the seconds between attempts."""

    name: str
    many: int
    cause: str
    failure: Failure
    ages: Ages
    pauses: tuple[int, ...]


REFUSED_ONES: Final = Lot("Scheduling system", 64, "rejected", UNKNOWN, _more_and_more, REFUSED)
FAILED_ONES: Final = Lot("Energy control centre", 48, "failed", OVERLOADED, _at_once, LADDER)
OTHERS: Final = (
    Lot("Gateway", 9, "rejected", TOO_LARGE, _now_and_then, REFUSED),
    Lot("Old gateway", 14, "expired", TOO_OLD, _before_the_pause, ()),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who can log in, and what there is, by name."""

    operator: str
    uaa: str
    endpoints: dict[str, Endpoint]
    refused: DeadLetter
    replay: str


async def set_up(system: System) -> Scene:
    """Make the ISO's day. Where nobody listens, nothing is tried: it is held, paused, or a stream."""
    now, dice = datetime.now(UTC), random.Random(SEED)
    joined = now - 320 * DAY
    with system.database.transaction() as sql:
        move_in(sql, ORGANISATIONS, RESOURCES, now, Act(OPERATOR, "from the registration form", joined))
        unowned = event_for("PGAE", "oms.resource-outage.created", mrid="18200391", sequence=1)
        parked.park(sql, [("WILLOW_1_SOLAR", unowned)], now - 3 * HOUR)
        there = {place.name: build(sql, place, _added(place, now, dice)) for place in PLACES}
    with system.database.transaction() as sql:
        for place in PLACES:
            outcomes.record(sql, list(its_day(place, there[place.name], now, dice)))
    for name, ago, failure, _ in HELD:
        await hold(system, there[name], now - ago, failure.detail, pause=ago + 5 * MINUTE)
    await asyncio.gather(*map(system.provide, there.values()))
    for participant, name, behaviours in RECEIVING:
        await _listen(system, participant, name, behaviours)
    refused, failed, *_ = [
        await _bury(system, there[lot.name], lot) for lot in (REFUSED_ONES, FAILED_ONES, *OTHERS)
    ]
    waiting = {there[name].participant_id: count for name, _, _, count in HELD} | {"PGAE_HYDRO": UNREAD}
    recipients = [name for name, count in waiting.items() for _ in range(count)]
    for day, name in enumerate(recipients):  # each an event of its own
        await system.close_market(day, audience=audience_of([name]))
    return Scene(
        operator=system.token(OPERATOR, Role.OPERATOR),
        uaa=system.token(UAA, Role.UAA, organisation="Pacific Example Power"),
        endpoints=there,
        refused=refused[-1],
        replay=_replayed_in_part(system, there["Energy control centre"], failed[:31], dice),
    )


def _added(place: Place, now: datetime, dice: random.Random) -> Act:
    who = UAA if place.participant.startswith("PGAE") else OPERATOR
    return Act(who, at=now - (40 * MINUTE if place.state == "pending" else dice.randrange(20, 300) * DAY))


async def _listen(system: System, participant: str, name: str, behaviours: tuple[Behaviour, ...]) -> None:
    receiver = await system.receivers.add(name.lower().replace(" ", "-"), *behaviours)
    with system.database.transaction() as sql:
        endpoint = endpoints.add(
            sql,
            participant,
            Act(OPERATOR),
            name=name,
            url=receiver.url,
            subscriptions=["market.#"],
            verified=True,
        )
    receiver.secrets = (endpoint.secrets[0].value,)
    await system.provide(endpoint)


async def _bury(system: System, endpoint: Endpoint, lot: Lot) -> tuple[DeadLetter, ...]:
    dice = random.Random(lot.many)
    kinds = ("status-changed", "changed", "created", "ended")
    events = [
        event_for(
            endpoint.participant_id,
            f"oms.resource-outage.{dice.choice(kinds)}",
            mrid=str(18_200_000 + dice.randrange(400)),
            sequence=dice.randrange(1, 9),
        )
        for _ in range(lot.many)
    ]
    given_up = zip(events, sorted(lot.ages(lot.many, dice), reverse=True), strict=True)
    return await bury(system, endpoint, given_up, lot.cause, lot.failure, pauses=lot.pauses, dice=dice)


def _replayed_in_part(
    system: System, endpoint: Endpoint, letters: tuple[DeadLetter, ...], dice: random.Random
) -> str:
    """Replay letters until a part of them has arrived, and pause; return the replay's ID."""
    now, ids = datetime.now(UTC), [one.id for one in letters]
    act = Act(OPERATOR, "their control centre is back after the restart")
    selection: dict[str, Any] = {"endpoint": endpoint.id, "cause": "failed"}
    with system.database.transaction() as sql:
        job = replays.create(sql, ids, act, selection=selection, rate=5, canary=True)
        replays.advance(sql, job.id, job.total)
        out = replays.claim_items(sql, job.id, 14, below=job.total)
        replays.mark_sent(sql, job.id, [one.position for one in out])
        arrived = [
            attempt(endpoint, now - timedelta(seconds=3 * (20 - one.position)), dice, None)._replace(
                message_id=one.letter.message_id or "",
                type=one.letter.type or "",
                claim_id=one.letter.claim_id or "",
                partitionkey=one.letter.partitionkey,
                sequence=one.letter.sequence,
                attempt=1,
                replay=job.id,
            )
            for one in out
        ]
        outcomes.record(sql, sorted(arrived))
        replays.pause(sql, job.id, Act(OPERATOR, "the rest after their shift has changed"))
    return job.id
