"""``claimbus deadletters show``: one letter with its attempts and its body. Every look is in the audit."""

import asyncio
import sys
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NamedTuple

import typer

from claimbus.cli.options import Actor, AsJson, Reason
from claimbus.cli.output import details, listing, print_json, say
from claimbus.cli.selection import refusals
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.database.access import Principal, Role
from claimbus.database.letters import DeadLetter
from claimbus.database.schema import moment_of
from claimbus.deadletters.show import Shown, answer, body, look
from claimbus.events.errors import InvalidInputError

LINES: Final = 60
"""Lines of a body that are shown."""

ATTEMPT_COLUMNS: Final = (
    "started_at",
    "attempt",
    "verdict",
    "status",
    "duration_ms",
    "next",
    "replay",
    "detail",
)


def show(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The letter's ID; a beginning that no other has is enough.")
    ],
    *,
    body_to: Annotated[
        str | None,
        typer.Option("--body", metavar="FILE", help="Write the whole body there, or to standard output: -."),
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its event, its attempts and what was answered, its body.

    Who looked, and why, is in the audit.
    """
    settings, who = load(), _Who(actor, reason)
    with refusals():
        if body_to == "-":
            asyncio.run(_write(settings, id_, who, sys.stdout.buffer))
        elif body_to is not None:
            asyncio.run(_save(settings, id_, who, Path(body_to)))
        else:
            shown = asyncio.run(_look(settings, id_, who))
            print_json(shown.as_json()) if as_json else _show(shown)


class _Who(NamedTuple):
    """Who looks and why. Whoever may open the database is an operator."""

    actor: str
    reason: str

    @property
    def principal(self) -> Principal:
        return Principal(name=self.actor, roles=frozenset({Role.OPERATOR}))


async def _look(settings: Settings, id_: str, who: _Who) -> Shown:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        kept = settings.letters_kept
        return await look(database, store, id_, who.principal, reason=who.reason, letters_kept=kept)


async def _save(settings: Settings, id_: str, who: _Who, file: Path) -> None:
    """Write a letter's body into a file, which is there only if it is there whole."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as opened:
            size = await _write(settings, id_, who, opened)
        part.replace(file)
    except OSError as failed:
        raise InvalidInputError("body", f"{file} cannot be written: {failed.strerror}") from failed
    finally:
        part.unlink(missing_ok=True)
    say(f"{size:,} bytes written to {file}")


async def _write(settings: Settings, id_: str, who: _Who, to: BinaryIO) -> int:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store(strict=False)
        found = await body(database, store, id_, who.principal, reason=who.reason)
        async with aclosing(found.pieces) as pieces:
            async for piece in pieces:
                to.write(piece)
        to.flush()
        return found.size


def _show(shown: Shown) -> None:
    letter = shown.letter
    moments = {"timestamp": letter.timestamp, "expires": letter.expires}
    told = facts(letter) | {name: at and datetime.fromtimestamp(at, UTC) for name, at in moments.items()}
    details(told | {"kept_until": shown.kept_until}, as_json=False)
    _head("event")
    details(shown.attributes, as_json=False)
    _head("attempts")
    rows = [one._asdict() | {"started_at": moment_of(one.started_ms)} for one in shown.attempts]
    listing(rows, ATTEMPT_COLUMNS, as_json=False, empty="none is on record")
    for one in shown.attempts:
        if one.answer_head:
            _head(f"answer to attempt {one.attempt}")
            print(answer(one))
    preview = shown.body
    _head("body" if preview.size is None else f"body, {preview.size:,} bytes")
    if preview.shown is None:
        print(preview.withheld)
        return
    lines = preview.shown.text.splitlines()
    print(*lines[:LINES], sep="\n")
    left_out = f"{len(lines) - LINES:,} more lines; --body writes it whole" if len(lines) > LINES else ""
    if remarks := "; ".join(filter(None, (preview.shown.remark, left_out))):
        print(f"({remarks})")


def facts(letter: DeadLetter) -> dict[str, Any]:
    """Return what is known of a letter, by name, but not its bytes."""
    return {name: value for name, value in asdict(letter).items() if name != "raw"}


def _head(text: str) -> None:
    print(f"\n-- {text}")
