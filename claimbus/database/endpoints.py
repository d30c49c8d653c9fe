"""The places that receive, their subscriptions and secrets.

Every change is audited in its transaction, without secrets, and raises ``revision``, by which workers notice
it. An endpoint is removed by a date; its row stays, for what happened to it.
"""

import string
from collections.abc import Collection
from datetime import timedelta
from secrets import choice
from typing import Any, Final, Unpack

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from claimbus.database import endpoint_limits, endpoint_secrets, participants, schema
from claimbus.database.audit import Act
from claimbus.database.endpoint import DEFAULTS, Endpoint, Kind, Settings, State
from claimbus.database.endpoint_revision import audit_added, locked, revise
from claimbus.database.endpoint_rows import current_state, load
from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.events.errors import InvalidInputError
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
    endpoint_secrets.add(connection, endpoint_id, act.at)
    _add_subscriptions(connection, endpoint_id, subscriptions)
    added = get(connection, endpoint_id)
    audit_added(connection, added, act)
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
    before = locked(connection, endpoint_id)
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
    return revise(connection, before, act, "changed", values)


def subscribe(connection: Connection, endpoint_id: str, patterns: Collection[str], act: Act) -> Endpoint:
    """Subscribe to event types. Raises InvalidInputError for a pattern that can match none."""
    before = locked(connection, endpoint_id)
    new = set(patterns).difference(before.subscriptions)
    if not new:
        return before
    _add_subscriptions(connection, endpoint_id, new)
    return revise(connection, before, act, "subscribed")


def unsubscribe(connection: Connection, endpoint_id: str, patterns: Collection[str], act: Act) -> Endpoint:
    """Give subscriptions up. Raises NotFoundError for one that the endpoint does not have."""
    before = locked(connection, endpoint_id)
    for pattern in patterns:
        if pattern not in before.subscriptions:
            raise NotFoundError("subscription", f"the endpoint has no subscription {pattern!r:.100}")
    column = schema.subscriptions.c
    connection.execute(
        delete(schema.subscriptions).where(column.endpoint_id == endpoint_id, column.pattern.in_(patterns))
    )
    return revise(connection, before, act, "unsubscribed")


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
    before = locked(connection, endpoint_id)
    if url is None or url != before.url:
        raise InvalidInputError("url", "is not the one that was verified; verify it anew")
    values = {"verified_at": act.at, "allowed_rate": allowed_rate}
    return revise(connection, before, act, "verified", values)


def rotate_secret(
    connection: Connection, endpoint_id: str, act: Act, *, overlap: timedelta = SECRET_OVERLAP
) -> Endpoint:
    """Make a new secret; the ones before it sign beside it until the overlap ends, and are then forgotten."""
    before = locked(connection, endpoint_id)
    endpoint_secrets.rotate(connection, endpoint_id, act.at, overlap)
    return revise(connection, before, act, "secret rotated")


def renew(connection: Connection, endpoint_id: str) -> None:
    """Have every worker begin anew with an endpoint, of which nothing has changed: this is not audited."""
    revision = schema.endpoints.c.revision + 1
    connection.execute(update(schema.endpoints).filter_by(id=endpoint_id).values(revision=revision))


def remove(connection: Connection, endpoint_id: str, act: Act) -> Endpoint:
    """Remove an endpoint: its name is free again, its secrets are forgotten, its row and history stay."""
    before = locked(connection, endpoint_id)
    endpoint_secrets.forget(connection, endpoint_id)
    return revise(connection, before, act, "removed", {"removed_at": act.at})


def _turn(
    connection: Connection, endpoint_id: str, act: Act, to: State, *, only_from: State | None
) -> Endpoint:
    before = locked(connection, endpoint_id)
    if before.state == to:
        return before
    if only_from is not None and before.state != only_from:
        raise InvalidInputError("state", f"is {before.state}, not {only_from}")
    becomes = "pending" if to == "active" and not before.verified else to
    action = f"{before.state} to {becomes}"
    return revise(connection, before, act, action, {"state": to, "state_reason": act.reason})


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
