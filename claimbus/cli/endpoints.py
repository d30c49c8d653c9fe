"""``claimbus endpoints``: where participants receive. Every change is bound and announced at once."""

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from claimbus.cli import endpoint_options as its
from claimbus.cli import trial
from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, duration, group
from claimbus.cli.output import details, listing, print_json, say
from claimbus.cli.provisioning import provision
from claimbus.cli.settings import load
from claimbus.database import bindings, endpoints, participants
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint, State
from claimbus.database.endpoints import SECRET_OVERLAP
from claimbus.database.engine import Database
from claimbus.events.errors import InvalidInputError
from consumers.verification import Verification

COLUMNS: Final = ("id", "participant_id", "name", "url", "state", "subscriptions")

app = group("Endpoints: where participants receive.")
app.command("verify")(trial.verify)
app.command("test")(trial.send_test)


@app.command()
def add(
    participant: Annotated[str, typer.Argument(metavar="PARTICIPANT", help="Whose endpoint it is.")],
    *,
    name: Annotated[str, typer.Option(help="What its keepers call it.")],
    url: its.Url = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Without URL: the participant connects to us.")
    ] = False,
    subscribe: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Event types: oms.#, market.dam.closed, # for all; repeat it."),
    ] = None,
    mode: its.DeliveryMode = None,
    ordered: its.Ordered = None,
    latest_only: its.LatestOnly = None,
    concurrency: its.Concurrency = None,
    rate_limit: its.RateLimit = None,
    timeout: its.Timeout = None,
    age_limit: its.AgeLimit = None,
    schema_version: its.SchemaVersion = None,
    ca_file: its.CaFile = None,
    later: its.Later = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Add an endpoint. Its secret, by which the receiver knows us, is shown this once.

    Nothing is sent to a URL before whoever answers there has agreed: see 'endpoints verify', done at once.
    """
    settings, act = load(), Act(actor, reason)
    wanted = its.chosen(
        settings,
        name=name,
        url=url,
        mode=mode,
        ordered=ordered,
        latest_only=latest_only,
        concurrency=concurrency,
        rate_limit=rate_limit,
        timeout=timeout,
        age_limit=settings.age_limit if age_limit is None else age_limit,
        schema_version=schema_version,
        ca_file=ca_file,
    )
    if url is not None:
        trial.check_url(settings, url)
    with _database() as database, database.transaction() as sql:
        added = endpoints.add(
            sql,
            participant,
            act,
            kind="stream" if stream else "webhook",
            subscriptions=subscribe or (),
            allow_http=settings.webhook_allow_http,
            **wanted,
        )
    shown, verification = added, None
    try:
        provision([added.id])
        if added.state == "pending" and not later:
            shown, verification = trial.verified(added, act)
    finally:  # whatever happens, there is no other chance to learn the secret
        secret = {} if stream else {"secret": added.secrets[0].value}
        _show_verified(shown, verification, as_json=as_json, **secret)


@app.command("list")
def list_(
    participant: Annotated[str | None, typer.Option(help="Only this participant's.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List endpoints."""
    with _database() as database, database.snapshot() as sql:
        if participant is not None:
            participants.get(sql, participant)  # a name that nobody has is a slip, not an empty list
        found = endpoints.find(sql, participant_id=participant, state=state, removed=removed)
    listing([_facts(one) for one in found], COLUMNS, as_json=as_json, empty="there are no endpoints")


@app.command()
def show(id_: its.Id, as_json: AsJson = False) -> None:
    """Show an endpoint, and what its queue is bound to."""
    with _database() as database, database.snapshot() as sql:
        found, bound = endpoints.get(sql, id_), bindings.current(sql, id_)
    keys = [f"{one.binding.exchange} {one.binding.key}" for one in bound]
    details(_facts(found) | {"bindings": keys}, as_json=as_json)


@app.command()
def change(
    id_: its.Id,
    *,
    name: Annotated[str | None, typer.Option(help="What its keepers call it.")] = None,
    url: its.Url = None,
    mode: its.DeliveryMode = None,
    ordered: its.Ordered = None,
    latest_only: its.LatestOnly = None,
    concurrency: its.Concurrency = None,
    rate_limit: its.RateLimit = None,
    timeout: its.Timeout = None,
    age_limit: its.AgeLimit = None,
    schema_version: its.SchemaVersion = None,
    ca_file: its.CaFile = None,
    without: its.Without = None,
    later: its.Later = False,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Change an endpoint's settings. Another URL is verified anew, and nothing is sent there before."""
    settings, act = load(), Act(actor, reason)
    wanted = its.chosen(
        settings,
        name=name,
        url=url,
        mode=mode,
        ordered=ordered,
        latest_only=latest_only,
        concurrency=concurrency,
        rate_limit=rate_limit,
        timeout=timeout,
        age_limit=age_limit,
        schema_version=schema_version,
        ca_file=ca_file,
        without=without,
    )
    if url is not None:
        trial.check_url(settings, url)
    with _database() as database, database.transaction() as sql:
        changed = endpoints.change(sql, id_, act, allow_http=settings.webhook_allow_http, **wanted)
    provision([id_])
    verification = None
    if url is not None and changed.verified_at is None and not later:
        changed, verification = trial.verified(changed, act)
    _show_verified(changed, verification, as_json=as_json)


@app.command()
def subscribe(
    id_: its.Id, patterns: its.Patterns, *, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Subscribe an endpoint to event types."""
    _change(lambda sql: endpoints.subscribe(sql, id_, patterns, Act(actor, reason)), as_json=as_json)


@app.command()
def unsubscribe(
    id_: its.Id, patterns: its.Patterns, *, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Give an endpoint's subscriptions up."""
    _change(lambda sql: endpoints.unsubscribe(sql, id_, patterns, Act(actor, reason)), as_json=as_json)


def _turn(turn: Callable[..., Endpoint]) -> Callable[..., None]:
    """Return the command that brings an endpoint into another state."""

    def command(id_: its.Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
        with _database() as database, database.transaction() as sql:
            try:
                turned = turn(sql, id_, Act(actor, reason))
            except InvalidInputError as wrong:
                if wrong.field != "state":
                    raise
                raise InvalidInputError("endpoint", f"{id_} {wrong.reason}") from wrong
        if as_json:
            print_json(_facts(turned))
        else:
            print(f"{turned.id} ({turned.name}) is {'removed' if turned.removed_at else turned.state}")
        provision([id_])

    return command


for _name, _function, _help in (
    ("pause", endpoints.pause, "Stop delivering for a while; the queue keeps everything."),
    ("resume", endpoints.resume, "Go on after a pause."),
    ("disable", endpoints.disable, "Stop delivering until it is enabled again; --reason must say why."),
    ("enable", endpoints.enable, "Go on after it was disabled."),
    ("remove", endpoints.remove, "Remove it; what its queue still has becomes dead letters."),
):
    app.command(_name, help=_help)(_turn(_function))


@app.command()
def rotate_secret(
    id_: its.Id,
    *,
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="How long the old one signs too.", show_default="24h"
        ),
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a new secret, shown this once; both sign for a while."""
    lasting = SECRET_OVERLAP if overlap is None else overlap
    with _database() as database, database.transaction() as sql:
        rotated = endpoints.rotate_secret(sql, id_, Act(actor, reason), overlap=lasting)
    details(_facts(rotated) | {"secret": rotated.secrets[0].value}, as_json=as_json)
    provision([id_])


def _change(change: Callable[..., Endpoint], *, as_json: bool) -> None:
    """Change an endpoint in a transaction, print it as it is then, and have it bound so."""
    with _database() as database, database.transaction() as sql:
        changed = change(sql)
    details(_facts(changed), as_json=as_json)
    provision([changed.id])


def _database() -> Database:
    return open_database(load())


def _show_verified(
    endpoint: Endpoint, verification: Verification | None, *, as_json: bool, **more: str
) -> None:
    """Show an endpoint, and how its verification went if there was one."""
    verify = f"claimbus endpoints verify {endpoint.id}"
    if as_json:
        following = {"next": verify} if endpoint.state == "pending" else {}
        told = {"verification": verification and trial.told(verification)}
        print_json(_facts(endpoint) | more | told | following)
    else:
        details(_facts(endpoint) | more, as_json=False)
    if endpoint.state == "pending":
        why = "" if verification is None else f": {verification.meaning}"
        say(f"claimbus: {endpoint.id} is pending, nothing is sent there yet{why}")
        say(f"claimbus: once its receiver runs and has the secret, type: {verify}")


def _facts(endpoint: Endpoint) -> dict[str, Any]:
    """Return what may be shown of an endpoint: its secrets by their dates only."""
    facts = {
        name: getattr(endpoint, name)
        for name in (field.name for field in fields(endpoint))
        if name not in ("secrets", "ca_pem", "generation", "revision")
    }
    facts["own_ca"] = endpoint.ca_pem is not None
    facts["secrets_since"] = [one.created_at for one in endpoint.secrets]
    return facts
