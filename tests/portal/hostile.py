"""Hostile names, and where they are put: whatever may come in, by whomever it comes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from claimbus.database import entitlements, parked, participants
from claimbus.database.audit import Act
from claimbus.database.entitlements import Entitlement
from tests.portal import seeding
from tests.portal.markup import Markup
from tests.portal.portals import Got
from tests.portal.scene import OWNER, Scene
from tests.portal.visitors import Visitor
from tests.producers.bus import closed

HOSTILE: Final = "\"'><zz-hostile onclick=zz>&amp;{{7*7919}}"
"""What becomes an element where it is not escaped."""

TURNED: Final = "\u202eturned\u2069"
TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows."""

BODY: Final = f'{{"text": "{HOSTILE[2:]}\\ud800{TURNED}"}}'

TYPED: Final = (HOSTILE, TURNED, "a" * 4000, "\0", "zz-surrogate", "-1", "1e999", "nan")

FIELDS: Final = (
    ("text", "participant", "endpoint", "kind", "state", "type", "verdict", "message", "replay", "group"),
    ("name", "url", "actor", "object", "organisation", "cause", "by", "template", "published", "reason"),
    ("id", "chosen", "to", "email", "patterns", "subscription", "participants", "title", "notice_id"),
    ("rate", "version", "asked", "out", "stayed", "concurrency", "timeout_s", "age_limit_s"),
    ("cursor",),
    ("since", "deprecated", "effective"),
    ("until", "sunset", "ends"),
    ("ca_pem", "mode", "schema_version", "rate_limit", "next", "token", "by", "said"),
)
"""Names of filters and of fields, in groups: what is wrong with one may hide what is wrong with the next."""


def harmless(name: str, got: Got) -> None:
    """Check that what is hostile is text in a page, and turns no text round."""
    page = got.body.decode()
    markup = Markup.of(page)
    assert not any(element.startswith("zz") for element, _ in markup.elements), name
    assert not any("onclick" in attributes for _, attributes in markup.elements), name
    assert markup.unsafe() == [], name
    assert "55433" not in page, name
    assert not TURNING.intersection(page), name


async def plant(scene: Scene, visitor: Visitor) -> None:
    """Put hostile names wherever a participant, its receiver, a publisher or an operator may put one."""
    portal, act = scene.portal, Act(HOSTILE, HOSTILE)
    url = "https://x.invalid/?%22\"'><zz-hostile>"
    at = seeding.endpoint(portal, OWNER, HOSTILE, url=url)
    event = replace(closed(1), source=f"urn:{HOSTILE}", subject=HOSTILE, body=BODY.encode())
    there = seeding.cemetery(portal)
    [letter] = await there.bury(at, event, detail=HOSTILE, cause=HOSTILE[:40])
    tried = seeding.attempt(
        at,
        message_id=event.identity,
        detail=HOSTILE,
        answer_head=f"{HOSTILE}{TURNED}".encode() + b"\0\xed\xa0\x80\xff",
        partitionkey=HOSTILE,
        source=HOSTILE,
        event_id=HOSTILE,
        replay=HOSTILE,
    )
    seeding.record(portal, tried)
    with portal.services.database.transaction() as sql:
        participants.move(sql, OWNER, HOSTILE, act)
        participants.add_contact(sql, HOSTILE, "\"'><zz-hostile>@x.example", act)
        entitlements.put(sql, [Entitlement(HOSTILE, OWNER, datetime.now(UTC))], act)
        parked.park(sql, [(HOSTILE, event)], datetime.now(UTC))
    scene.names |= {"endpoint_id": at.id, "message_id": event.identity, "letter_id": letter.id}
    long = {"reason": f"{HOSTILE}{TURNED}\u2066" + "x" * 10_000}
    assert (await visitor.post(f"/endpoints/{at.id}/disable", long)).status == 303
    got = await visitor.post("/letters/replay/choose", {"id": letter.id, **long})
    assert got.status in {303, 422}
    replayed = await visitor.post(scene.fill("/replays/{replay_id}/pause"), long)
    assert replayed.status == 303
