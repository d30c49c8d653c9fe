"""Which dead letters a command is about: options that several commands share, each spelled once."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, get_args

import typer

from claimbus.cli.commands import WrongUsageError
from claimbus.cli.lookups import OfEndpoint, whole
from claimbus.cli.options import Since, Until
from claimbus.cli.output import say
from claimbus.database import letters, participants
from claimbus.database.letters import Filter, State
from claimbus.events.errors import ConfigurationError, InvalidInputError
from claimbus.events.event import format_time

if TYPE_CHECKING:
    from sqlalchemy import Connection

STATES: Final[tuple[State, ...]] = get_args(State)

DONE: Final[dict[State, str]] = {"dead": "replayed or discarded", "discarded": "restored"}
"""What can be done to the letters in a state."""

CAUSES: Final = (
    "attempts exhausted",
    "corrupt",
    "delivery-limit",
    "endpoint-gone",
    "expired",
    "missing",
    "not entitled",
    "rejected",
    "undecodable",
)
"""Why deliveries are given up, by workers and by RabbitMQ; there may be letters with others."""

TOLD: Final = 100
"""Letters typed by ID that are told one by one when they are left out."""

NAMED: Final = 5
"""Letters not typed by ID that are named when they are left out."""


All = Annotated[bool, typer.Option("--all", help="Every one: needed where no other option says which.")]


def _state(text: str) -> str:
    state = text.replace("-", " ")
    if state not in (*STATES, "any"):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(STATES)}, any")
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was typed: the letters that pass every option given. The fields are the options."""

    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Letters, from 'deadletters list'; a beginning is enough."),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(parser=whole("group"), metavar="ID", help="Of this group, from 'deadletters groups'."),
    ] = None
    cause: Annotated[str | None, typer.Option(help="Given up for this: rejected, 'attempts exhausted'.")] = (
        None
    )
    endpoint: OfEndpoint = None
    participant: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Of this participant; repeat it.")
    ] = None
    type: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Of these event types: oms.#, market.dam.closed.")
    ] = None
    message: Annotated[str | None, typer.Option(metavar="ID", help="Of this event.")] = None
    since: Since = None
    until: Until = None
    state: Annotated[
        list[str] | None,
        typer.Option(parser=_state, metavar="STATE", help=f"{', '.join(STATES)} or any; repeat it."),
    ] = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise InvalidInputError("until", "is not later than --since")

    def words(self) -> dict[str, Any]:
        """Return the options that were given, as JSON values."""
        return {
            name: format_time(value) if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value
        }

    def filter(self, sql: "Connection", default: State | None = None) -> Filter:
        """Return it as the database takes it; ``default`` is the state if none was typed, None: any.

        Raises InvalidInputError for an ID that nothing has, or the beginning of which several have, and for
        a cause that is none.
        """
        for name in self.participant or ():
            participants.get(sql, name)
        if self.cause is not None and self.cause not in CAUSES:
            known = sorted({*CAUSES, *letters.count(sql, by="cause")})
            if self.cause not in known:
                raise InvalidInputError("cause", f"{self.cause!r:.60} is none of {', '.join(known)}")
        typed = self.state or [default or "any"]
        return Filter(
            ids=[letters.resolve(sql, one) for one in self.ids] if self.ids else None,
            group=self.group,
            cause=self.cause,
            endpoint_id=self.endpoint,
            participant_ids=self.participant or None,
            type=self.type,
            states=None if "any" in typed else [state for state in STATES if state in typed],
            since=self.since,
            until=self.until,
            message_id=self.message,
        )

    def look(self, sql: "Connection") -> Filter:
        """Return the filter for looking: without a state those that are dead, unless letters are named."""
        return self.filter(sql, None if self.ids else "dead")

    def pick(self, sql: "Connection", state: State, *, all_: bool) -> list[str]:
        """Return the IDs of the letters to change, oldest first: those in this state only.

        Raises InvalidInputError when nothing says which, and when there are none.
        """
        if not (all_ or self.words().keys() - {"state"}):
            raise InvalidInputError("letters", "say which: IDs, options such as --group, or --all")
        if set(self.state or ()) - {state}:
            raise InvalidInputError("state", f"only {state} letters can be {DONE[state]}")
        wanted = self.filter(sql, state)
        found = letters.select_ids(sql, wanted)
        for other in letters.many(sql, sorted(set(wanted.ids or ()).difference(found))[:TOLD]):
            why = "does not pass the other options" if other.state == state else f"is {other.state}"
            say(f"left out: {other.id} {why}")
        if state != "discarded" and not self.ids:
            _tell_discarded(sql, wanted)
        if not found:
            none = "no letter is" if all_ and not self.words() else "there is no such letter that is"
            raise InvalidInputError("letters", f"{none} {state}, so none can be {DONE[state]}")
        return found


def _tell_discarded(sql: "Connection", wanted: Filter) -> None:
    """Name the letters that would be among them had they not been discarded."""
    discarded = letters.find(sql, replace(wanted, states=["discarded"]), limit=NAMED)
    if discarded.rows:
        named = ", ".join(one.id for one in discarded.rows) + (", …" if discarded.cursor else "")
        say(f"left out, for they were discarded: {named} ('claimbus deadletters restore' takes them back)")


def selecting(command: Callable[Concatenate[Selection, ...], None]) -> Callable[..., None]:
    """Give a command the options of a `Selection`, which it gets as its first argument."""

    @functools.wraps(command)
    def typed(**options: Any) -> None:  # noqa: ANN401 - typer's
        with refusals():
            command(Selection(**{name: options.pop(name) for name in shared}), **options)

    shared = inspect.signature(Selection).parameters
    own = list(inspect.signature(command).parameters.values())[1:]
    vars(typed)["__signature__"] = inspect.Signature([*shared.values(), *own])
    return typed


@contextmanager
def refusals() -> Iterator[None]:
    """Take input that can never be accepted for wrong usage: nothing was done."""
    try:
        yield
    except ConfigurationError:
        raise
    except InvalidInputError as wrong:
        raise WrongUsageError(wrong.field, wrong.reason) from wrong
