"""A town to look at: organisations with odd names, endpoints in every state, and a day of their history."""

import asyncio
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from claimbus.broker.codec import Letter
from claimbus.database import attempts, deaths, endpoints, holds, outcomes, parked, participants, replays
from claimbus.database import entitlements as owned
from claimbus.database.access import Role
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint, Settings
from claimbus.database.entitlements import Entitlement
from claimbus.database.holds import HoldEvent
from claimbus.database.letters import DeadLetter
from claimbus.deadletters.row import row_of
from claimbus.events.catalogue import lookup
from claimbus.events.event import Event, audience_of, new_id
from claimstore.holds import Holds
from tests.browser.system import System
from tests.deadletters.stage import Cemetery

DAY: Final = timedelta(days=1)
OPERATOR: Final = Act("Ingrid Operator", "to try the pages")
HTML: Final = "<h1>Bad Gateway</h1><script>document.title='mine'</script><img src=x onerror=alert(1)>"
ODD: Final = "{{ 7 * 7 }} \"' onmouseover=alert(1)"
LONG: Final = (
    "A cooperative with so long a name that no table has a column for it, of Überlandwerk & Sons, Ltd."
)

ORGANISATIONS: Final[dict[str, tuple[str, ...]]] = {
    "Pacific Example Power": ("PGAE", "PGAE_TRADING", "PGAE_NIGHT"),
    "Southern Example & O'Brien <Energy>": ("SCE1",),
    "株式会社 電力 / Energía del Sur": ("SUR_ENERGIA",),
    '"><img src=x onerror=alert(1)>': ("ODD_ONE",),
    LONG: ("A_PARTICIPANT_OF_32_CHARACTERS_X",),
    "San Diego Example": ("SDGE", "SDGE_RENEWABLES"),
}
TYPES: Final = {
    "oms.resource-outage.status-changed": 9,
    "oms.resource-outage.created": 4,
    "oms.resource-outage.changed": 4,
    "oms.resource-outage.ended": 3,
    "market.fmm.results-published": 6,
    "market.dam.closed": 1,
    "market.dam.results-published": 1,
}


class Place(NamedTuple):
    """An endpoint of the town: whose, what it is called, how busy its day was, and what is the matter."""

    participant: str
    name: str
    settings: Settings
    per_hour: float = 0
    trouble: str = ""


PLACES: Final = (
    Place(
        "PGAE",
        "Control room",
        {"url": "https://events.pacific-power.example/outages", "ordered": True},
        60,
    ),
    Place(
        "PGAE",
        "Market desk",
        {"url": "https://desk.pacific-power.example/hooks/iso", "latest_only": True},
        25,
    ),
    Place("PGAE", "Archive", {}, 12),
    Place("PGAE", "Old gateway", {"url": "https://old.pacific-power.example/in"}, 4, "paused"),
    Place("PGAE", "New vendor", {"url": "https://vendor.example/webhooks/pacific"}, 0, "pending"),
    Place("PGAE_TRADING", "Trading floor", {"url": "https://floor.pacific-power.example/iso"}, 30, "held"),
    Place("PGAE_NIGHT", "Night shift", {}, 6),
    Place("SCE1", "Scheduling <b>system</b>", {"url": "https://sched.southern.example/iso"}, 40, "refuses"),
    Place("SUR_ENERGIA", "Recepción de eventos", {"url": "https://eventos.sur.example/"}, 15),
    Place("ODD_ONE", ODD, {"url": "https://odd.example/?a=<b>"}, 8, "html"),
    Place("A_PARTICIPANT_OF_32_CHARACTERS_X", LONG, {"url": f"https://long.example/{200 * 'x'}"}, 3),
    Place("SDGE", "Gateway", {"url": "https://gw.sandiego.example/iso", "mode": "claim"}, 20),
    Place("SDGE", "Retired", {"url": "https://gone.sandiego.example/"}, 2, "disabled"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """Who can log in to it, and what there is, by name."""

    operator: str
    uaa: str
    stranger: str
    endpoints: dict[str, Endpoint]
    letters: dict[str, tuple[DeadLetter, ...]]
    replay: str


async def settle(system: System) -> Town:
    """Build the town. What is seeded is never delivered anywhere: nothing is published to who would call."""
    now, dice = datetime.now(UTC), random.Random(6)
    with system.database.transaction() as sql:
        _found(sql, now)
        there = {place.name: _build(sql, place) for place in PLACES}
    with system.database.transaction() as sql:
        for place in PLACES:
            outcomes.record(sql, list(_day(place, there[place.name], now, dice)))
    await asyncio.gather(*map(system.provide, there.values()))
    await _really_receiving(system)
    held, stopped = there["Trading floor"], there["Retired"]
    gate = Holds(system.store.connection)
    for ago in (110, 100, 95, 92, 90):
        await gate.failed(held.id, int((now - timedelta(minutes=ago)).timestamp() * 1000))
    hour = timedelta(hours=1)
    with system.database.transaction() as sql:
        for event in (
            HoldEvent(held.id, "held", now - 9 * hour, "5 failures in a row: 503"),
            HoldEvent(held.id, "released", now - 8.6 * hour, "a probe was delivered"),
            HoldEvent(held.id, "held", now - 1.5 * hour, "connect: connection timed out"),
            HoldEvent(stopped.id, "disabled", now - 20 * hour, "answered 410 Gone"),
        ):
            holds.record(sql, event)
    letters = {
        "refused": await _bury(
            system,
            there["Scheduling <b>system</b>"],
            64,
            cause="rejected",
            detail="answered 422",
            status=422,
        ),
        "timeout": await _bury(system, held, 31, cause="failed", detail="connect timeout after 5 s"),
        "html": await _bury(system, there[ODD], 9, cause="failed", detail=HTML, status=502),
        "expired": await _bury(system, there["Old gateway"], 4, cause="expired", detail="older than 72 h"),
    }
    with system.database.transaction() as sql:
        ids = [one.id for one in letters["timeout"]]
        job = replays.create(sql, ids[:20], OPERATOR, selection={"group": "timeout"}, rate=5, canary=True)
        replays.pause(sql, job.id, Act("Ingrid Operator", "their gateway is being repaired"))
        again = replays.create(sql, ids[20:24], OPERATOR, selection={"ids": ids[20:24]}, rate=5, canary=False)
        replays.cancel(sql, again.id, Act("Ingrid Operator", "not yet"))
    for day in range(1, 8):  # they wait: the night shift's stream has no client
        await system.close_market(day, audience=audience_of(["PGAE_NIGHT"]))
    return Town(
        operator=system.token("Ingrid Operator", Role.OPERATOR),
        uaa=system.token("Ana Pacheco", Role.UAA, organisation="Pacific Example Power"),
        stranger=system.token("Sam Stranger", Role.UAA, organisation="San Diego Example"),
        endpoints=there,
        letters=letters,
        replay=job.id,
    )


async def _really_receiving(system: System) -> None:
    """Let one participant receive indeed: what is published to it arrives."""
    receiver = await system.receivers.add("solar")
    with system.database.transaction() as sql:
        solar = endpoints.add(
            sql,
            "SDGE_RENEWABLES",
            OPERATOR,
            name="Solar desk",
            url=receiver.url,
            subscriptions=["market.#"],
            verified=True,
        )
    receiver.secrets = (solar.secrets[0].value,)
    await system.provide(solar)


def _found(sql: Connection, now: datetime) -> None:
    """Add the organisations, who belongs to them, whom to tell, and what they own."""
    for organisation, names in ORGANISATIONS.items():
        for name in names:
            participants.add(sql, name, organisation, OPERATOR)
        participants.add_contact(
            sql, organisation, f"bus@{names[0].lower().replace('_', '-')}.example", OPERATOR
        )
    everybody = [name for members in ORGANISATIONS.values() for name in members]
    resources = [
        f"{name.split('_')[0]}_{number}_UNIT {number}" for name in everybody for number in range(1, 8)
    ]
    owners = [name for name in everybody for _ in range(1, 8)]
    since = now - 400 * DAY
    rows = (Entitlement(what, who, since) for what, who in zip(resources, owners, strict=True))
    owned.put(sql, {row.key: row for row in rows}.values(), OPERATOR)
    unowned = _event("oms.resource-outage.created", "PGAE")
    parked.park(sql, [("NOBODYS_1_UNIT 1", unowned)], now - timedelta(hours=3))


def _build(sql: Connection, place: Place) -> Endpoint:
    kind: Any = "webhook" if "url" in place.settings else "stream"
    added = endpoints.add(
        sql,
        place.participant,
        Act("Ana Pacheco" if place.participant.startswith("PGAE") else "Ingrid Operator"),
        kind=kind,
        name=place.name,
        subscriptions=["market.#", "oms.#"],
        verified=place.trouble != "pending",
        **{name: value for name, value in place.settings.items() if name != "name"},  # type: ignore[arg-type]
    )
    match place.trouble:
        case "paused":
            return endpoints.pause(sql, added.id, Act("Ana Pacheco", "moves to the new data centre"))
        case "disabled":
            return endpoints.disable(sql, added.id, Act("claimbus", "answered 410 Gone"))
    return added


def _day(place: Place, endpoint: Endpoint, now: datetime, dice: random.Random) -> Iterator[Attempt]:
    """Make a day of attempts: busier by day than by night, until the trouble began."""
    if not place.per_hour:
        return
    ends = {"paused": 5.0, "disabled": 20.0}.get(place.trouble, 0.0)
    ago = 24.0
    while (ago := ago - dice.expovariate(place.per_hour * (1.2 + math.sin(ago / 3.8)))) > ends:
        troubled = (place.trouble == "held" and ago < 1.9) or dice.random() < (
            0.3 if place.trouble in ("refuses", "html") else 0.01
        )
        yield _attempt(endpoint, now - timedelta(hours=ago), place.trouble if troubled else "", dice)


def _attempt(endpoint: Endpoint, at: datetime, trouble: str, dice: random.Random) -> Attempt:
    type_ = dice.choices(list(TYPES), list(TYPES.values()))[0]
    is_outage = type_.startswith("oms.")
    told: dict[str, Any] = {"verdict": "delivered", "status": 204, "next": "ack", "detail": None}
    match trouble:
        case "refuses":
            told = {"verdict": "rejected", "status": 422, "next": "retry in 5 s", "detail": "answered 422"}
        case "held":
            told |= {"verdict": "failed", "status": None, "next": "retry in 30 s"}
            told["detail"] = "connect: connection timed out"
        case "html":
            told = {"verdict": "failed", "status": 502, "next": "retry in 5 s", "detail": HTML}
    event = new_id()
    return Attempt(
        started_ms=int(at.timestamp() * 1000),
        id=attempts.new_id(),
        endpoint_id=endpoint.id,
        message_id=f"evt_{event.replace('-', '')[:24]}",
        participant_id=endpoint.participant_id,
        type=type_,
        claim_id=new_id(),
        attempt=1,
        duration_ms=max(3, int(dice.lognormvariate(3.3, 0.8))) if trouble != "held" else 5003,
        answer_head=HTML.encode() if trouble == "html" else None,
        replay=None,
        source="urn:claimbus:map-stage:" + type_.partition(".")[0],
        event_id=event,
        partitionkey=str(18_200_000 + dice.randrange(400)) if is_outage else type_.split(".")[1],
        sequence=dice.randrange(1, 9) if is_outage else None,
        **told,
    )


async def _bury(
    system: System, endpoint: Endpoint, count: int, *, cause: str, detail: str, status: int | None = None
) -> tuple[DeadLetter, ...]:
    """Make dead letters of the last hours, the newest the most, each with its attempts and its body."""
    cemetery, now = Cemetery(system.database, system.store, Holds(system.store.connection)), datetime.now(UTC)
    types = [name for name in TYPES if name.startswith("oms.")]
    events = [_event(types[number % len(types)], endpoint.participant_id) for number in range(count)]
    rows: list[tuple[DeadLetter, Any]] = []
    tries: list[Attempt] = []
    dice = random.Random(count)
    for number, ticket in enumerate(await cemetery.tickets(*events)):
        died = now - DAY * (1 - (number + 1) / (count + 1)) ** 2
        letter = Letter(
            body=ticket.body(),
            ticket=ticket,
            endpoint=endpoint.id,
            cause=cause,
            detail=detail,
            attempts=3,
            status=status,
            died=int(died.timestamp()),
        )
        row, group = row_of(letter, endpoint.participant_id, now)
        rows.append((replace(row, state_at=died), group))
        event = events[number]
        for nth, pause in ((1, 36), (2, 30), (3, 0)):
            known = _attempt(endpoint, died - timedelta(seconds=pause), "refuses", dice)
            of_event: dict[str, Any] = {
                "message_id": event.identity,
                "type": event.type,
                "claim_id": ticket.claim_id,
                "attempt": nth,
                "next": f"dead letter: {cause}" if nth == 3 else "retry in 5 s",
                "verdict": "rejected" if cause == "rejected" else "failed",
                "status": status,
                "detail": detail,
                "answer_head": detail.encode(),
                "event_id": event.id,
                "source": event.source,
                "partitionkey": event.partitionkey,
            }
            tries.append(known._replace(**of_event))
    claims = [await cemetery.copy(row.claim_id or "") for row, _ in rows]
    with system.database.transaction() as sql:
        deaths.record(sql, [row for row, _ in rows], [group for _, group in rows], claims)
        attempts.record(sql, _oldest_first(tries))
    return tuple(row for row, _ in rows)


def _oldest_first(tries: Sequence[Attempt]) -> list[Attempt]:
    return sorted(tries)


def _event(type_: str, participant: str) -> Event:
    kind = lookup(type_)
    body = kind.example
    return Event(
        type=type_,
        source="urn:claimbus:map-stage:oms",
        id=new_id(),
        time=datetime.now(UTC) - timedelta(hours=2),
        body=json.dumps(body).encode(),
        audience=audience_of([participant]),
        datacontenttype="application/json",
        dataschema=kind.newest.uri,
        partitionkey=kind.partitionkey(body),
    )
