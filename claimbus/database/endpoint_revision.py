"""How an endpoint changes: its row is locked, its ``revision`` raised, and what differs goes into the audit.

All of it in the transaction of the change itself. Secrets appear in the audit by their dates only.
"""

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, select, update

from claimbus.database import audit, schema
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.database.endpoint_rows import load
from claimbus.database.errors import NotFoundError
from claimbus.events.event import format_time


def audit_added(connection: Connection, added: Endpoint, act: Act) -> None:
    """Note a new endpoint in the audit."""
    audit.append(connection, act, "added", _subject(added), after=_told(added))


def locked(connection: Connection, endpoint_id: str) -> Endpoint:
    """Return an endpoint that is about to change, its row locked until the transaction ends.

    Raises NotFoundError, also for one that was removed.
    """
    lock = select(schema.endpoints.c.id).filter_by(id=endpoint_id, removed_at=None).with_for_update()
    if connection.execute(lock).first() is None:
        raise NotFoundError("endpoint", f"there is no endpoint {endpoint_id!r:.60}, or it was removed")
    return load(connection, schema.endpoints.c.id == endpoint_id)[0]


def revise(
    connection: Connection, before: Endpoint, act: Act, action: str, values: dict[str, Any] | None = None
) -> Endpoint:
    """Set columns of a `locked` endpoint and return it as it is then, with another revision.

    The audit is given what differs from ``before``, its secrets and subscriptions included.
    """
    new = {**(values or {}), "revision": before.revision + 1}
    connection.execute(update(schema.endpoints).filter_by(id=before.id).values(new))
    after = load(connection, schema.endpoints.c.id == before.id)[0]
    was, is_now = _told(before), _told(after)
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


def _told(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the audit may know: secrets appear by their dates only."""
    untold = ("id", "organisation_id", "revision", "created_at", "secrets")
    state = {one.name: getattr(endpoint, one.name) for one in fields(endpoint) if one.name not in untold}
    for name in ("verified_at", "removed_at"):
        if state[name] is not None:
            state[name] = format_time(state[name])
    state["subscriptions"] = list(endpoint.subscriptions)
    state["secrets"] = [format_time(one.created_at) for one in endpoint.secrets]
    return state
