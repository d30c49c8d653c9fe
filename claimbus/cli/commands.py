"""The command ``claimbus``: which subcommands there are, and how an error of any of them is told.

A subcommand's module is loaded when it is typed, so the help is fast, and the participant's installation
(without RabbitMQ's and Redis's clients) works as far as it can.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandInfo

from claimbus.cli.durations import show_duration
from claimbus.cli.output import say
from claimbus.events.errors import ClaimbusError, ConfigurationError, InvalidInputError, UnavailableError

COMMANDS: Final = {
    "doctor": ("doctor:doctor", "Check settings, servers, clock and queues, and say what to do."),
    "settings": ("configuration:show_settings", "List every setting with its value, default and meaning."),
    "publish": ("publish:publish", "Publish one event, from a file or standard input."),
    "oms": ("oms:app", "Outages: watch snapshots, release parked events."),
    "market": ("market:app", "Publish what happened in a market."),
    "notice": ("notice:app", "Publish notices to participants."),
    "outbox": ("outbox:app", "Events kept in a file until the servers are back."),
    "work": ("work:work", "Deliver to the participants' endpoints until stopped."),
    "portal": ("portal:portal", "Serve the API, streams and web pages until stopped."),
    "access": ("access:app", "Who may use the portal: tokens, client certificates, authorities."),
    "deadletters": ("deadletters:app", "Deliveries that were given up: look, replay, discard."),
    "replays": ("replays:app", "Jobs that deliver dead letters again: watch, pause, resume, cancel."),
    "recover": ("recover:recover", "Deliver again what an endpoint missed since a time."),
    "receive": ("receive:receive", "Receive webhooks, as a participant."),
    "subscribe": ("subscribe:subscribe", "Receive events over a stream, as a participant."),
    "participants": ("participants:app", "Participants, and what they may see."),
    "endpoints": ("endpoints:app", "Endpoints: where participants receive."),
    "event-types": ("event_types:app", "Event types, and when they are deprecated and end."),
    "rekey": (
        "rekey:rekey",
        "Encrypt secrets, parked events and outages with the first key, and count what each encrypts.",
    ),
    "attempts": ("history:attempts", "What became of deliveries."),
    "holds": ("history:holds", "Which endpoints were held, and why."),
    "audit": ("history:audit", "Who changed what."),
    "tls-check": ("tls_check:tls_check", "Show which TLS a listener speaks, and whom it trusts."),
}
"""Each subcommand's place in this package, and its line in the help."""

OURS: Final = frozenset({"claimbus", "claimstore", "producers", "consumers"})


RENAMED: Final = {
    "age_limit_s": "age_limit",
    "audience": "to",
    "ca_pem": "ca_file",
    "certificate_file": "cert",
    "datacontenttype": "content_type",
    "key_file": "key",
    "subscription": "subscribe",
    "timeout_s": "timeout",
}
"""Fields whose option has another name."""


class WrongUsageError(InvalidInputError):
    """Input that is refused before anything was done: told in one line, and the exit code is 2."""


class Command(TyperCommand):
    """A subcommand whose errors name the option at fault, not the field behind it.

    Its help has durations as people write them.
    """

    def __init__(self, *arguments: Any, **attributes: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(*arguments, **attributes)
        for one in self.params:
            if isinstance(one, TyperOption) and isinstance(one.default, timedelta):
                one.default = show_duration(one.default.total_seconds())  # its parser reads it again

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own and private
        """Read what was typed."""
        with self._naming_options():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run it."""
        with self._naming_options():
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return what the line of usage has; typer puts what is required into braces, as if to be typed."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    @contextmanager
    def _naming_options(self) -> Iterator[None]:
        try:
            yield
        except InvalidInputError as wrong:
            option = self._option(RENAMED.get(wrong.field, wrong.field))
            if option is not None:
                wrong.field, wrong.args = option, (f"{option}: {wrong.reason}",)
            raise

    def _option(self, field: str) -> str | None:
        options = (one.opts[0] for one in self.params if (one.name or "").strip("_") == field)
        return next((option for option in options if option.startswith("--")), None)


class Commands(TyperGroup):
    """The subcommands by name; what stands behind a name is loaded when it is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's
        stubs = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}
        super().__init__(**attributes | {"commands": stubs})

    def resolve_command(  # the context's class is typer's own and private, here and below
        self,
        ctx: Any,  # noqa: ANN401
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """Return the real command in place of the one that stands in for it in the help."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, stub and load(stub.name or ""), rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run a subcommand; an error of ours is told in one line, without a traceback.

        It exits with 2 for a WrongUsageError, else with 1.
        """
        code = 1
        try:
            return super().invoke(ctx)
        except (ClaimbusError, ExceptionGroup) as failed:
            reason = told(failed)
            if reason is None:
                raise
            code = 2 if isinstance(failed, WrongUsageError) else 1
        except ModuleNotFoundError as missing:
            if not missing.name or missing.name.partition(".")[0] in OURS:
                raise
            reason = f"this needs {missing.name}, of the ISO's side: pip install 'claimbus[iso]'"
        say(f"claimbus: {reason}")
        raise typer.Exit(code)


def load(name: str) -> Any:  # noqa: ANN401 - a command of typer's
    """Return the subcommand of this name."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"claimbus.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        found = single
    for one in _leaves(found):
        one.cls = Command
    command = typer.main.get_command(found)
    command.name = name
    return command


def _leaves(group: typer.Typer) -> Iterator[CommandInfo]:
    yield from group.registered_commands
    for one in group.registered_groups:
        if one.typer_instance is not None:
            yield from _leaves(one.typer_instance)


def told(failed: Exception) -> str | None:
    """Return an error as one line that names what is at fault and where to look on; None: it is not ours."""
    if isinstance(failed, ExceptionGroup):
        reasons = [told(one) for one in failed.exceptions]
        return None if None in reasons else f"{failed.message}; the first: {reasons[0]}"
    if not isinstance(failed, ClaimbusError):
        return None
    text = " ".join(str(failed).split())
    if isinstance(failed, ConfigurationError):
        from claimbus.cli.settings import Settings  # noqa: PLC0415 - only now needed

        is_setting = failed.field in Settings.model_fields
        return f"CLAIMBUS_{failed.field.upper()}: {failed.reason}" if is_setting else text
    return f"{text} ('claimbus doctor' tells more)" if isinstance(failed, UnavailableError) else text


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"claimbus {version('claimbus')}")
        raise typer.Exit


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
# Pretty tracebacks show local variables, and there are secrets among those.


@app.callback()
def claimbus(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Tell market participants at once that something changed."""
    # What goes wrong is told at the end, in one line; commands that stay set up logs of their own.
    logging.getLogger().setLevel(logging.ERROR)
