"""Endpoints as a description, and how they come about: whose, their day, and what is the matter."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection

from claimbus.database import endpoints, holds, participants
from claimbus.database import entitlements as owned
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint, Settings
from claimbus.database.entitlements import Entitlement
from claimbus.database.holds import HoldEvent
from claimstore.holds import THRESHOLD, Holds
from tests.browser import past
from tests.browser.past import DAY, Failure
from tests.browser.system import System

MINUTE: Final = timedelta(minutes=1)


class Place(NamedTuple):
    """An endpoint: whose, what it is called, how busy its day was, and what is the matter.

    ``failure`` is how its attempts fail, one in a hundred or the ``share`` given; ``hours`` is since when all
    of them do, or since when, being ``paused`` or ``disabled`` for ``why``, it has had none.
    """

    participant: str
    name: str
    settings: Settings
    per_hour: float = 0
    state: Literal["active", "pending", "paused", "disabled"] = "active"
    failure: Failure | None = None
    share: float = 0.01
    hours: float = 0
    why: str = ""


def move_in(
    sql: Connection,
    organisations: Mapping[str, Sequence[str]],
    resources: Mapping[str, Sequence[str]],
    now: datetime,
    act: Act,
) -> None:
    """Add the organisations, who belongs to them, whom to tell, and what they own."""
    for organisation, names in organisations.items():
        for name in names:
            participants.add(sql, name, organisation, act)
        domain = names[0].lower().replace("_", "-")
        participants.add_contact(sql, organisation, f"bus@{domain}.example", act)
    rows = [Entitlement(one, owner, now - 400 * DAY) for owner, all_ in resources.items() for one in all_]
    owned.put(sql, {row.key: row for row in rows}.values(), act)


def build(sql: Connection, place: Place, act: Act) -> Endpoint:
    """Add an endpoint in its state."""
    settings: Settings = {**place.settings, "name": place.name}
    added = endpoints.add(
        sql,
        place.participant,
        act,
        kind="webhook" if "url" in place.settings else "stream",
        subscriptions=["market.#", "oms.#"],
        verified=place.state != "pending",
        **settings,
    )
    stopped = datetime.now(UTC) - timedelta(hours=place.hours)
    match place.state:
        case "paused":
            return endpoints.pause(sql, added.id, Act(act.actor, place.why, stopped))
        case "disabled":
            return endpoints.disable(sql, added.id, Act("claimbus", place.why, stopped))
    return added


def its_day(place: Place, endpoint: Endpoint, now: datetime, dice: random.Random) -> Iterator[Attempt]:
    """Make its last day of attempts."""
    is_over = place.state in ("paused", "disabled")

    def fails(ago: float) -> Failure | None:
        return place.failure if dice.random() < place.share or ago < place.hours else None

    until = place.hours if is_over else 0.0
    return past.day(endpoint, now, dice, place.per_hour, fails, until=until)


async def hold(
    system: System, endpoint: Endpoint, since: datetime, why: str, *, pause: timedelta = 5 * MINUTE
) -> None:
    """Hold an endpoint since a moment; its next probe is due a ``pause`` after that."""
    gate = Holds(system.store.connection, shortest=pause)
    for ago in reversed(range(THRESHOLD)):
        await gate.failed(endpoint.id, int((since - ago * MINUTE).timestamp() * 1000))
    with system.database.transaction() as sql:
        holds.record(sql, HoldEvent(endpoint.id, "held", since, why))
