"""The places that receive, their subscriptions and secrets.

Every change is audited in its transaction, without secrets, and raises ``revision``, by which workers notice
it. An endpoint is removed by a date; its row stays, for what happened to it.
"""

import base64
import string
from collections.abc import Collection
from dataclasses import fields
from datetime import timedelta
from secrets import choice, token_bytes
from typing import Any, Final, Unpack

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from claimbus.database import audit, endpoint_limits, participants, schema, sealed
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import DEFAULTS, Endpoint, Kind, Settings, State
from claimbus.database.endpoint_rows import current_state, load
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time
from claimbus.events.routing import check_pattern

SECRET_OVERLAP: Final = timedelta(hours=24)
"""How long a rotated secret signs beside the new one."""

_ID_LETTERS: Final = string.ascii_lowercase + string.digits


def add(
    connection: Connection,
    participant_id: str,
    act: Act,
    *,
    kind: Kind = "webhook",
    subscriptions: Collection[str] = (),
    allow_http: bool = False,
    verified: bool = False,
    **settings: Unpack[Settings],
) -> Endpoint:
    """Add an endpoint with a secret of its own; ``name`` is required, and ``url`` for a webhook.

    A webhook is pending until it is `mark_verified`, unless it counts as ``verified`` already.

    Raises NotFoundError for an unknown participant, DuplicateError for a name that it uses already, and
    InvalidInputError naming the setting at fault.
    """
    participants.get(connection, participant_id)
    if kind not in ("webhook", "stream"):
        raise InvalidInputError("kind", "is neither 'webhook' nor 'stream'")
    if "name" not in settings:
        raise InvalidInputError("name", "must be given")
    chosen: Settings = {**DEFAULTS, **settings}
    endpoint_limits.check(kind, chosen, allow_http=allow_http)
    _check_name_is_free(connection, participant_id, settings["name"])
    endpoint_id = "ep_" + "".join(choice(_ID_LETTERS) for _ in range(20))
    row = {
        "id": endpoint_id,
        "participant_id": participant_id,
        "kind": kind,
        **chosen,
        "state": "active",
        "state_reason": "",
        "generation": 1,
        "revision": 1,
        "created_at": act.at,
        "verified_at": act.at if verified and kind == "webhook" else None,
    }
    connection.execute(insert(schema.endpoints), row)
    _add_secret(connection, endpoint_id, act)
    _add_subscriptions(connection, endpoint_id, subscriptions)
    added = get(connection, endpoint_id)
    audit.append(connection, act, "added", _subject(added), after=_state(added))
    return added


def get(connection: Connection, endpoint_id: str) -> Endpoint:
    """Return an endpoint, a removed one too. Raises NotFoundError."""
    found = load(connection, schema.endpoints.c.id == endpoint_id)
    if not found:
        raise NotFoundError("endpoint", f"there is no endpoint {endpoint_id!r:.60}")
    return found[0]


def find(
    connection: Connection,
    *,
    participant_id: str | None = None,
    organisation_id: str | None = None,
    state: State | None = None,
    removed: bool = False,
) -> tuple[Endpoint, ...]:
    """Return the endpoints that pass every filter given, by age; removed ones only if asked for."""
    column = schema.endpoints.c
    conditions: list[ColumnElement[bool]] = [] if removed else [column.removed_at.is_(None)]
    if participant_id is not None:
        conditions.append(column.participant_id == participant_id)
    if organisation_id is not None:
        owned = select(schema.participants.c.id).filter_by(organisation_id=organisation_id)
        conditions.append(column.participant_id.in_(owned))
    if state is not None:
        conditions.append(current_state == state)
    return load(connection, *conditions)


def revisions(connection: Connection) -> dict[str, int]:
    """Return the revision of every endpoint that is not removed: a cheap look at what has changed."""
    query = select(schema.endpoints.c.id, schema.endpoints.c.revision)
    return dict(connection.execute(query.where(schema.endpoints.c.removed_at.is_(None))).all())


def change(
    connection: Connection,
    endpoint_id: str,
    act: Act,
    *,
    allow_http: bool = False,
    **settings: Unpack[Settings],
) -> Endpoint:
    """Change settings. Another URL must be verified anew; ``ordered`` takes another queue: a generation."""
    before = _kept(connection, endpoint_id)
    values: dict[str, Any] = {
        name: value for name, value in settings.items() if getattr(before, name, None) != value
    }
    if not values:
        return before
    kept_url = "url" not in values
    endpoint_limits.check(before.kind, {"url": before.url, **settings}, allow_http=allow_http or kept_url)
    if "name" in values:
        _check_name_is_free(connection, before.participant_id, values["name"])
    if "url" in values:
        values["verified_at"] = values["allowed_rate"] = None
    if "ordered" in values:
        values["generation"] = before.generation + 1
    return _revise(connection, before, act, "changed", values)


def subscribe(connection: Connection, endpoint_id: str, patterns: Collection[str], act: Act) -> Endpoint:
    """Subscribe to event types. Raises InvalidInputError for a pattern that can match none."""
    before = _kept(connection, endpoint_id)
    new = set(patterns).difference(before.subscriptions)
    if not new:
        return before
    _add_subscriptions(connection, endpoint_id, new)
    return _revise(connection, before, act, "subscribed")


def unsubscribe(connection: Connection, endpoint_id: str, patterns: Collection[str], act: Act) -> Endpoint:
    """Give subscriptions up. Raises NotFoundError for one that the endpoint does not have."""
    before = _kept(connection, endpoint_id)
    for pattern in patterns:
        if pattern not in before.subscriptions:
            raise NotFoundError("subscription", f"the endpoint has no subscription {pattern!r:.100}")
    column = schema.subscriptions.c
    connection.execute(
        delete(schema.subscriptions).where(column.endpoint_id == endpoint_id, column.pattern.in_(patterns))
    )
    return _revise(connection, before, act, "unsubscribed")


def pause(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Stop delivering for a while; the queue keeps everything."""
    return _turn(connection, endpoint_id, act, "paused", only_from="active")


def resume(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Go on after `pause`; a webhook whose URL has changed meanwhile is pending."""
    return _turn(connection, endpoint_id, act, "active", only_from="paused")


def disable(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Stop delivering until somebody enables the endpoint again; the act must say why."""
    if not act.reason:
        raise InvalidInputError("reason", "must be given")
    return _turn(connection, endpoint_id, act, "disabled", only_from=None)


def enable(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Go on after `disable`; a webhook that is not verified is pending."""
    return _turn(connection, endpoint_id, act, "active", only_from="disabled")


def mark_verified(
    connection: Connection, endpoint_id: str, act: Act, *, url: str | None, allowed_rate: float | None = None
) -> Endpoint:
    """Note that whoever answers at this URL has agreed to receive: a pending endpoint is active then.

    ``allowed_rate``: the most deliveries a second that it agreed to. Raises InvalidInputError when the URL is
    another one by now.
    """
    before = _kept(connection, endpoint_id)
    if url is None or url != before.url:
        raise InvalidInputError("url", "is not the one that was verified; verify it anew")
    values = {"verified_at": act.at, "allowed_rate": allowed_rate}
    return _revise(connection, before, act, "verified", values)


def rotate_secret(
    connection: Connection, endpoint_id: str, act: Act, *, overlap: timedelta = SECRET_OVERLAP
) -> Endpoint:
    """Make a new secret; the ones before it sign beside it until the overlap ends, and are then forgotten."""
    before = _kept(connection, endpoint_id)
    column, ends = schema.endpoint_secrets.c, act.at + overlap
    of_endpoint = column.endpoint_id == endpoint_id
    connection.execute(delete(schema.endpoint_secrets).where(of_endpoint, column.expires_at <= act.at))
    lasting = or_(column.expires_at.is_(None), column.expires_at > ends)
    connection.execute(update(schema.endpoint_secrets).where(of_endpoint, lasting).values(expires_at=ends))
    _add_secret(connection, endpoint_id, act)
    return _revise(connection, before, act, "secret rotated")


def renew(connection: Connection, endpoint_id: str) -> None:
    """Have every worker begin anew with an endpoint, of which nothing has changed: this is not audited."""
    revision = schema.endpoints.c.revision + 1
    connection.execute(update(schema.endpoints).filter_by(id=endpoint_id).values(revision=revision))


def remove(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Remove an endpoint: its name is free again, its secrets are forgotten, its row and history stay."""
    before = _kept(connection, endpoint_id)
    connection.execute(delete(schema.endpoint_secrets).filter_by(endpoint_id=endpoint_id))
    return _revise(connection, before, act, "removed", {"removed_at": act.at})


def _turn(
    connection: Connection, endpoint_id: str, act: Act, to: State, *, only_from: State | None
) -> Endpoint:
    before = _kept(connection, endpoint_id)
    if before.state == to:
        return before
    if only_from is not None and before.state != only_from:
        raise InvalidInputError("state", f"is {before.state}, not {only_from}")
    becomes = "pending" if to == "active" and not before.verified else to
    action = f"{before.state} to {becomes}"
    return _revise(connection, before, act, action, {"state": to, "state_reason": act.reason})


def _kept(connection: Connection, endpoint_id: str) -> Endpoint:
    """Return an endpoint that is about to change, locked until the transaction ends."""
    lock = select(schema.endpoints.c.id).filter_by(id=endpoint_id, removed_at=None).with_for_update()
    if connection.execute(lock).first() is None:
        raise NotFoundError("endpoint", f"there is no endpoint {endpoint_id!r:.60}, or it was removed")
    return get(connection, endpoint_id)


def _revise(
    connection: Connection, before: Endpoint, act: Act, action: str, values: dict[str, Any] | None = None
) -> Endpoint:
    new = {**(values or {}), "revision": before.revision + 1}
    connection.execute(update(schema.endpoints).filter_by(id=before.id).values(new))
    after = get(connection, before.id)
    was, is_now = _state(before), _state(after)
    differing = [name for name in was if was[name] != is_now[name]]
    audit.append(
        connection,
        act,
        action,
        _subject(after),
        before={name: was[name] for name in differing},
        after={name: is_now[name] for name in differing},
    )
    return after


def _subject(endpoint: Endpoint) -> Subject:
    return Subject("endpoint", endpoint.id, endpoint.organisation_id)


def _state(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the audit may know: secrets appear by their dates only."""
    untold = ("id", "organisation_id", "revision", "created_at", "secrets")
    state = {one.name: getattr(endpoint, one.name) for one in fields(endpoint) if one.name not in untold}
    for name in ("verified_at", "removed_at"):
        if state[name] is not None:
            state[name] = format_time(state[name])
    state["subscriptions"] = list(endpoint.subscriptions)
    state["secrets"] = [format_time(one.created_at) for one in endpoint.secrets]
    return state


def _add_secret(connection: Connection, endpoint_id: str, act: Act) -> None:
    value = "whsec_" + base64.b64encode(token_bytes(32)).decode()
    stored = sealed.stored_secret(connection, endpoint_id, value)
    row = {"endpoint_id": endpoint_id, "value": stored, "created_at": act.at}
    connection.execute(insert(schema.endpoint_secrets), row)


def _add_subscriptions(connection: Connection, endpoint_id: str, patterns: Collection[str]) -> None:
    for pattern in patterns:
        check_pattern(pattern)
    if patterns:
        rows = [{"endpoint_id": endpoint_id, "pattern": pattern} for pattern in sorted(set(patterns))]
        connection.execute(insert(schema.subscriptions), rows)


def _check_name_is_free(connection: Connection, participant_id: str, name: str) -> None:
    same = select(schema.endpoints.c.id).filter_by(participant_id=participant_id, name=name, removed_at=None)
    if connection.execute(same).first():
        raise DuplicateError("name", f"{participant_id} has an endpoint {name!r} already")
