"""``claimbus rekey``: after the encryption keys were changed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from claimbus.cli.options import AsJson
from claimbus.cli.output import listing, say
from claimbus.cli.settings import load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database import rekey as rekeying
from claimbus.events.sealing import Keys
from claimstore import memory_keys
from claimstore.record import KEY_LIMIT
from claimstore.usage import claims_by_key, count_by_key

COLUMNS: Final = ("key", "use", "secrets", "parked", "outages", "letters", "claims")


def rekey(
    *,
    look: Annotated[bool, typer.Option("--look", help="Change nothing, only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt secrets, parked events and outages with the first key, and count what each encrypts.

    Claims and dead letters' bodies go by themselves; a key that encrypts nothing any more may be dropped.
    What is in clear is read here even if CLAIMBUS_ENCRYPTION_REQUIRED refuses it elsewhere.
    Exits with 1 if something needs a key that is not set.
    """
    rows = asyncio.run(_rekey(look=look))
    listing(rows, COLUMNS, as_json=as_json, empty="no keys are set, and there is nothing to encrypt")
    if any(row["use"] == "missing" for row in rows):
        say("claimbus: what is encrypted with a missing key waits; set the key again")
        raise typer.Exit(1)


async def _rekey(*, look: bool) -> list[dict[str, Any]]:
    async with Wiring(load(encryption_required=False), within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        while not look and await database.run(rekeying.rekey) > 0:
            pass
        if not look:
            await memory_keys.rekey(store.connection, store.keys)
        counts = {
            "secrets": await database.read(rekeying.secrets_by_key),
            "parked": await database.read(rekeying.parked_by_key),
            "outages": await memory_keys.by_key(store.connection),
            "letters": await database.read(
                lambda sql: count_by_key(rekeying.kept_beginnings(sql, KEY_LIMIT))
            ),
            "claims": await claims_by_key(store.connection),
        }
        return list(_rows(store.keys, counts))


def _rows(keys: Keys, counts: dict[str, Counter[str | None]]) -> Iterator[dict[str, Any]]:
    found = {key for count in counts.values() for key in count}
    uses: dict[str | None, str] = dict.fromkeys(keys.names, "decrypts")
    if keys.first is not None:
        uses[keys.first] = "encrypts"
    uses |= dict.fromkeys(found - uses.keys(), "missing")
    if None in found:
        uses[None] = "in clear"
    for key, use in uses.items():
        yield {"key": key, "use": use} | {what: count[key] for what, count in counts.items()}
