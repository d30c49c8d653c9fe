"""A town to look at that no page may trip over: names with odd characters, endpoints in every state."""

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from claimbus.database import endpoints, holds, outcomes, parked, replays
from claimbus.database.access import Role
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.holds import HoldEvent
from claimbus.database.letters import DeadLetter
from claimbus.events.event import audience_of
from tests.browser.past import DAY, TYPES, Failure, bury, event_for
from tests.browser.places import Place, build, hold, its_day, move_in
from tests.browser.system import System

HOUR: Final = timedelta(hours=1)
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

REFUSES: Final = Failure("rejected", "answered 422", 422, b"answered 422")
TIMES_OUT: Final = Failure("failed", "connect: connection timed out", took_ms=5003, next="retry in 30 s")
ANSWERS_HTML: Final = Failure("failed", HTML, 502, HTML.encode())

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
    Place(
        "PGAE",
        "Old gateway",
        {"url": "https://old.pacific-power.example/in"},
        4,
        "paused",
        hours=5,
        why="moves to the new data centre",
    ),
    Place("PGAE", "New vendor", {"url": "https://vendor.example/webhooks/pacific"}, 0, "pending"),
    Place(
        "PGAE_TRADING",
        "Trading floor",
        {"url": "https://floor.pacific-power.example/iso"},
        30,
        failure=TIMES_OUT,
        hours=1.9,
    ),
    Place("PGAE_NIGHT", "Night shift", {}, 6),
    Place(
        "SCE1",
        "Scheduling <b>system</b>",
        {"url": "https://sched.southern.example/iso"},
        40,
        failure=REFUSES,
        share=0.3,
    ),
    Place("SUR_ENERGIA", "Recepción de eventos", {"url": "https://eventos.sur.example/"}, 15),
    Place("ODD_ONE", ODD, {"url": "https://odd.example/?a=<b>"}, 8, failure=ANSWERS_HTML, share=0.3),
    Place("A_PARTICIPANT_OF_32_CHARACTERS_X", LONG, {"url": f"https://long.example/{200 * 'x'}"}, 3),
    Place("SDGE", "Gateway", {"url": "https://gw.sandiego.example/iso", "mode": "claim"}, 20),
    Place(
        "SDGE",
        "Retired",
        {"url": "https://gone.sandiego.example/"},
        2,
        "disabled",
        hours=20,
        why="answered 410 Gone",
    ),
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
    everybody = [name for members in ORGANISATIONS.values() for name in members]
    with system.database.transaction() as sql:
        resources = {
            name: [f"{name.split('_')[0]}_{number}_UNIT {number}" for number in range(1, 8)]
            for name in everybody
        }
        move_in(sql, ORGANISATIONS, resources, now, OPERATOR)
        unowned = event_for("PGAE", "oms.resource-outage.created")
        parked.park(sql, [("NOBODYS_1_UNIT 1", unowned)], now - 3 * HOUR)
        there = {
            place.name: build(
                sql, place, Act("Ana Pacheco") if place.participant.startswith("PGAE") else OPERATOR
            )
            for place in PLACES
        }
    with system.database.transaction() as sql:
        for place in PLACES:
            outcomes.record(sql, list(its_day(place, there[place.name], now, dice)))
    await asyncio.gather(*map(system.provide, there.values()))
    await _really_receiving(system)
    held, stopped = there["Trading floor"], there["Retired"]
    with system.database.transaction() as sql:
        for event in (
            HoldEvent(held.id, "held", now - 9 * HOUR, "5 failures in a row: 503"),
            HoldEvent(held.id, "released", now - 8.6 * HOUR, "a probe was delivered"),
            HoldEvent(stopped.id, "disabled", now - 20 * HOUR, "answered 410 Gone"),
        ):
            holds.record(sql, event)
    await hold(system, held, now - 1.5 * HOUR, "connect: connection timed out")
    letters = {
        "refused": await _bury(system, there["Scheduling <b>system</b>"], 64, "rejected", REFUSES),
        "timeout": await _bury(system, held, 31, "failed", Failure("failed", "connect timeout after 5 s")),
        "html": await _bury(system, there[ODD], 9, "failed", ANSWERS_HTML),
        "expired": await _bury(
            system, there["Old gateway"], 4, "expired", Failure("expired", "older than 72 h")
        ),
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


async def _bury(
    system: System, endpoint: Endpoint, count: int, cause: str, failure: Failure
) -> tuple[DeadLetter, ...]:
    """Make dead letters of the last day, the newest the most."""
    types = [name for name in TYPES if name.startswith("oms.")]
    given_up = [
        (
            event_for(endpoint.participant_id, types[number % len(types)]),
            DAY * (1 - (number + 1) / (count + 1)) ** 2,
        )
        for number in range(count)
    ]
    return await bury(system, endpoint, given_up, cause, failure, dice=random.Random(count))


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
