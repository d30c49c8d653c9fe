"""Every operation of the HTTP API: how it is called so that it works, and what it leaves in the audit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

from tests.portal.portals import Got
from tests.portal.scene import ORGANISATION, OWNER, WHY, Scene

HOUR_AGO: Final = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
NOBODY: Final = "x_nobody_has_it"
"""An ID that nothing has."""


class Entry(NamedTuple):
    """An entry of the audit. ``thing`` is its object's ID; in braces: a thing of the scene or the answer."""

    action: str
    kind: str
    thing: str


@dataclass(frozen=True, slots=True)
class Call:
    """How an operation is called. ``first`` is what must be done before, by whoever may do that.

    ``leaves``: what a success adds to the audit, each with the reason that was given unless it takes none.
    """

    operation: str
    body: Mapping[str, Any] | None = None
    leaves: tuple[Entry, ...] = ()
    query: str = ""
    first: "Call | None" = None
    takes_reason: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.operation.split()[0]

    @property
    def path(self) -> str:
        return self.operation.split()[1]

    async def make(self, scene: Scene, *, token: str | None = None, **instead: str) -> Got:
        """Make it, with other things ``instead`` of the scene's."""
        names = replace(scene, names=scene.names | instead)
        body = self.body
        if body is not None and self.takes_reason:
            body = {**body, "reason": WHY}
        path = names.fill(self.path) + (f"?{names.fill(self.query)}" if self.query else "")
        document = None if body is None else json.loads(names.fill(json.dumps(body)))
        headers = {name: names.fill(value) for name, value in self.headers.items()}
        return await scene.program.ask(self.method, path, document, token=token, **headers)


def _at_endpoint(what: str, *actions: str, first: Call | None = None, **body: Any) -> Call:  # noqa: ANN401
    leaves = tuple(Entry(action, "endpoint", "{endpoint_id}") for action in actions)
    return Call(f"POST /v1/endpoints/{{endpoint_id}}/{what}", body, leaves, first=first)


def _at_replay(what: str, action: str, first: Call | None = None) -> Call:
    leaves = (Entry(action, "replay", "{replay_id}"),)
    return Call(f"POST /v1/replays/{{replay_id}}/{what}", {}, leaves, first=first)


_LETTER: Final = {"selection": {"ids": ["{letter_id}"], "participant_id": "{participant_id}"}}
_NOTICE: Final = {"title": "A title", "text": "A text"}
_EVENT: Final = {"market": "dam", "trade_date": "2026-03-05", "occurrence": 1}
_STREAM: Final = {"participant_id": "{participant_id}", "kind": "stream", "name": "stream {number}"}

_TEST: Final = Call(
    "POST /v1/endpoints/{endpoint_id}/test",
    leaves=(Entry("test sent", "endpoint", "{endpoint_id}"),),
    takes_reason=False,
)
_PAUSE: Final = _at_endpoint("pause", "active to paused")
_DISABLE: Final = _at_endpoint("disable", "active to disabled")
_PAUSE_REPLAY: Final = _at_replay("pause", "paused")
_DISCARD: Final = Call(
    "POST /v1/deadletters/discard", _LETTER, (Entry("discarded", "letters", "{letter_id}"),)
)
_SET_DATES: Final = Call(
    "PUT /v1/event-types/{name}/dates",
    {"sunset": "2{number}-01-01"},
    (Entry("dates set", "event type", "{name}"),),
)

WRITES: Final = (
    Call(
        "POST /v1/participants",
        {"id": "NEW{number}", "organisation_id": "New {number} Inc", "new_organisation": True},
        (
            Entry("added", "organisation", "New {number} Inc"),
            Entry("added", "participant", "NEW{number}"),
        ),
    ),
    Call(
        "PUT /v1/participants/{participant_id}/event-types",
        {"event_types": ["#", "oms.{word}.*"]},
        (Entry("event types opened", "participant", OWNER),),
    ),
    Call(
        "PUT /v1/participants/{participant_id}/entitlements/{resource_id}",
        {"valid_from": HOUR_AGO},
        (Entry("added", "entitlement", f"{{resource_id}}/{OWNER}"),),
    ),
    Call(
        "POST /v1/participants/{participant_id}/contacts",
        {"email": "desk{number}@contacts.example"},
        (Entry("added", "contact", "desk{number}@contacts.example"),),
    ),
    Call(
        "DELETE /v1/participants/{participant_id}/contacts",
        leaves=(Entry("removed", "contact", "{contact}"),),
        query=f"email={{contact}}&reason={quote_plus(WHY)}",
    ),
    Call("POST /v1/endpoints", _STREAM, (Entry("added", "endpoint", "{answer[endpoint][id]}"),)),
    Call(
        "PATCH /v1/endpoints/{endpoint_id}",
        {"name": "renamed {number}"},
        (Entry("changed", "endpoint", "{endpoint_id}"),),
    ),
    Call(
        "DELETE /v1/endpoints/{endpoint_id}",
        leaves=(Entry("removed", "endpoint", "{endpoint_id}"),),
        query=f"reason={quote_plus(WHY)}",
    ),
    _at_endpoint("subscriptions", "subscribed", "unsubscribed", add=["oms.#"], give_up=["#"]),
    _at_endpoint("verify", "verified"),
    _TEST,
    _PAUSE,
    _at_endpoint("resume", "paused to active", first=_PAUSE),
    _DISABLE,
    _at_endpoint("enable", "disabled to active", first=_DISABLE),
    _at_endpoint("rotate-secret", "secret rotated"),
    Call(
        "POST /v1/deliveries/{endpoint_id}/{message_id}/resend",
        {},
        (Entry("sent again", "endpoint", "{endpoint_id}"),),
    ),
    Call(
        "POST /v1/recoveries",
        {"endpoint_id": "{endpoint_id}", "since": HOUR_AGO},
        (
            Entry("recovery begun", "endpoint", "{endpoint_id}"),
            Entry("recovered", "endpoint", "{endpoint_id}"),
        ),
    ),
    Call(
        "POST /v1/recoveries/{recovery_id}/stop",
        {},
        (Entry("recovery stopped", "endpoint", "{recovering_id}"),),
    ),
    Call("POST /v1/deadletters/preflight", _LETTER, takes_reason=False),
    Call("POST /v1/deadletters/replay", _LETTER, (Entry("created", "replay", "{answer[id]}"),)),
    _DISCARD,
    Call(
        "POST /v1/deadletters/restore",
        _LETTER,
        (Entry("restored", "letters", "{letter_id}"),),
        first=_DISCARD,
    ),
    _PAUSE_REPLAY,
    _at_replay("resume", "resumed", first=_PAUSE_REPLAY),
    _at_replay("cancel", "cancelled"),
    _SET_DATES,
    Call(
        "PUT /v1/event-types/{name}/dates",
        {},
        (Entry("dates removed", "event type", "{name}"),),
        first=_SET_DATES,
    ),
    Call("POST /v1/notices/preview", _NOTICE, takes_reason=False),
    Call("POST /v1/notices", _NOTICE, (Entry("published", "notice", "{answer[notice_id]}"),)),
    Call(
        "POST /v1/parked-events/release",
        {"message_ids": ["{parked_id}"], "to": [OWNER]},
        (Entry("released", "parked event", "{parked_id}"),),
    ),
    Call(
        "POST /v1/events",
        _EVENT,
        (Entry("published", "event", "{answer[message_id]}"),),
        takes_reason=False,
        headers={
            "ce_specversion": "1.0",
            "ce_type": "market.dam.closed",
            "ce_id": "{endpoint_id}",
            "claimbus_audience": "all",
        },
    ),
)
"""What changes something, or looks as if it did: every operation that is no GET or HEAD."""

READS: Final = (
    Call("GET /healthz"),
    Call("GET /readyz"),
    Call("GET /metrics"),
    Call("GET /asyncapi.json"),
    Call("GET /v1/claims/{claim_id}"),
    Call("HEAD /v1/claims/{claim_id}"),
    Call("GET /v1/overview"),
    Call("GET /v1/credentials"),
    Call("GET /v1/participants"),
    Call("GET /v1/participants/{participant_id}"),
    Call("GET /v1/endpoints", query="participant_id={participant_id}"),
    Call("GET /v1/endpoints/health", query="endpoint_id={endpoint_id}"),
    Call("GET /v1/endpoints/{endpoint_id}"),
    Call("GET /v1/endpoints/{endpoint_id}/health"),
    Call("GET /v1/deliveries", query="endpoint_id={endpoint_id}"),
    Call("GET /v1/deliveries.csv", query="participant_id={participant_id}"),
    Call("GET /v1/deliveries/{endpoint_id}/{message_id}"),
    Call("GET /v1/recoveries", query="endpoint_id={endpoint_id}"),
    Call("GET /v1/recoveries/{recovery_id}"),
    Call("GET /v1/deadletters", query="participant_id={participant_id}"),
    Call("GET /v1/deadletters/groups", query="participant_id={participant_id}"),
    Call("GET /v1/deadletters/{letter_id}"),
    Call("GET /v1/deadletters/{letter_id}/body"),
    Call("GET /v1/replays"),
    Call("GET /v1/replays/{replay_id}"),
    Call("GET /v1/replays/{replay_id}/items"),
    Call("GET /v1/event-types"),
    Call("GET /v1/journal", query="since=2026-01-01T00:00:00Z"),
    Call("GET /v1/parked-events"),
    Call("GET /v1/audit", query=f"organisation_id={quote_plus(ORGANISATION)}"),
)
"""What only looks."""


def operations(described: Mapping[str, Any]) -> set[str]:
    """Return every operation of the API as it describes itself."""
    return {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item}
