"""``claimbus oms parked`` and ``oms release``: events on resources that nobody owns."""

import asyncio
from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Limit, Reason
from claimbus.cli.output import listing, say
from claimbus.cli.settings import load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database import entitlements, parked
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.parked import Parked
from claimbus.events.errors import InvalidInputError
from producers.producer import Producer

AT_ONCE: Final = 100_000
"""Events that one release looks at, at most; they are known here without their bodies."""


def list_parked(
    released: Annotated[bool, typer.Option("--released", help="Those that were released instead.")] = False,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """List events that are parked since nobody owned their resource, newest first."""
    with open_database(load()) as database, database.snapshot() as sql:
        found = parked.find(sql, released=released, limit=limit).rows
    rows = [asdict(one) | {"type": one.attributes["type"]} for one in found]
    columns = ("message_id", "resource_id", "type", "parked_at", "released_at", "released_by")
    listing(rows, columns if released else columns[:4], as_json=as_json, empty="nothing is parked")


def release(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Message IDs, from 'oms parked'.")
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All whose resource has an owner by now.")] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A participant who gets it; repeat it. Default: who owns it now."),
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Publish parked events to those who own their resources now, or to those named by --to.

    One whose resource still has no owner stays parked.
    """
    if bool(ids) == all_:
        raise typer.BadParameter("give the IDs of the events to release, or --all")
    rows = asyncio.run(_release(ids, frozenset(to or ()), Act(actor, reason)))
    released = [row for row in rows if row["released_to"]]
    shown = rows if ids else released
    listing(shown, ("message_id", "resource_id", "released_to"), as_json=as_json, empty="nothing is released")
    if left := len(rows) - len(released):
        say(f"claimbus: left parked: {left:,}, since nobody owns their resource; see 'claimbus oms parked'")
        if ids:
            raise typer.Exit(1)


async def _release(ids: Collection[str] | None, to: frozenset[str], act: Act) -> list[dict[str, Any]]:
    """Release these events, or all; return each with whom it went to, nobody if its resource has no owner."""
    rows = []
    async with Wiring(load(), within=COMMAND_WITHIN) as wiring:
        database = wiring.database()
        chosen = _chosen(await database.read(lambda sql: parked.find(sql, limit=AT_ONCE).rows), ids)
        resources = {one.resource_id for one in chosen}
        owners = await database.read(lambda sql: entitlements.owners(sql, resources, act.at))
        store, publisher = await wiring.store(), await wiring.publisher("release: publishes")
        producer = wiring.producer(store, publisher, "oms", database=database)
        for one in chosen:
            audience = to or owners.get(one.resource_id, frozenset())
            if audience:
                await _publish(one.message_id, audience, producer, database, act)
            names = {"message_id": one.message_id, "resource_id": one.resource_id}
            rows.append(names | {"released_to": sorted(audience)})
    return rows


async def _publish(
    message_id: str, audience: frozenset[str], producer: Producer, database: Database, act: Act
) -> None:
    event = await database.read(lambda sql: parked.event(sql, message_id, audience))
    await producer.publish(event)
    await database.run(lambda sql: parked.mark_released(sql, [message_id], act, to=audience))


def _chosen(waiting: Collection[Parked], ids: Collection[str] | None) -> list[Parked]:
    """Return the events to release, those of one outage in the order of their sequences."""
    by_id = {one.message_id: one for one in waiting}
    for unknown in set(ids or ()) - by_id.keys():
        raise InvalidInputError("ID", f"no event {unknown} is parked")
    chosen = [by_id[one] for one in ids] if ids else waiting
    return sorted(chosen, key=lambda one: (one.resource_id, int(one.attributes.get("sequence", "0"))))
