"""Every route of the pages: how a browser asks for it so that it does its work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from claimbus.portal.app import ROUTERS
from claimbus.portal.pages.routes import PageRoute
from tests.portal.portals import Got
from tests.portal.scene import MARK, OWNER, WHY, Scene
from tests.portal.visitors import Visitor


def page_routes() -> Iterator[str]:
    """Every method and path of the application's pages."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, PageRoute):
                yield from (f"{method} {route.path}" for method in route.methods or ())


@dataclass(frozen=True, slots=True)
class PageCall:
    """How a route is asked for. ``at`` is its path with words of its own in it; ``answer``: a success's."""

    route: str
    at: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    answer: int = 0

    @property
    def name(self) -> str:
        """Its method and path, as it is asked for."""
        method, path = self.route.split()
        return f"{method} {(self.at or path).partition('?')[0]}"

    @property
    def is_form(self) -> bool:
        return self.route.startswith("POST")

    @property
    def succeeds(self) -> int:
        return self.answer or (303 if self.is_form else 200)

    def path(self, scene: Scene) -> str:
        return scene.fill(self.at or self.route.split()[1])

    async def make(self, scene: Scene, visitor: Visitor, **headers: str) -> Got:
        """Ask, as somebody at a browser."""
        if self.route in STREAMS:
            return await _begun(visitor, self.path(scene))
        if not self.is_form:
            return await visitor.get(self.path(scene), **headers)
        fields = {name: scene.fill(value) for name, value in self.fields.items()}
        return await visitor.post(self.path(scene), {"reason": WHY, **fields}, **headers)


async def _begun(visitor: Visitor, path: str) -> Got:
    """Ask for a stream, and leave after its first piece."""
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    request = visitor.client.get(visitor.portal.url + path).headers({"cookie": cookie})
    async with request.streamed_read_buffer_limit(0).build_streamed() as response:
        chunk = await response.body_reader.read_chunk()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Got(response.status, headers, b"" if chunk is None else chunk.to_bytes())


def _turn(turning: str, answer: int = 0) -> PageCall:
    route = "POST /endpoints/{endpoint_id}/{turning}"
    return PageCall(route, f"/endpoints/{{endpoint_id}}/{turning}", answer=answer)


def _turn_replay(turning: str) -> PageCall:
    return PageCall("POST /replays/{replay_id}/{turning}", f"/replays/{{replay_id}}/{turning}")


def _asked(change: str) -> PageCall:
    return PageCall(
        "GET /participants/{participant_id}/{change}", f"/participants/{{participant_id}}/{change}"
    )


def _changed(change: str, **fields: str) -> PageCall:
    route, at = "POST /participants/{participant_id}/{change}", f"/participants/{{participant_id}}/{change}"
    return PageCall(route, at, fields)


_PARTICIPANT: Final = {
    "id": "P{number}",
    "organisation": "P{number} Inc",
    "founded": "yes",
    "patterns": "#",
}
LETTER: Final = {"id": "{letter_id}", "participant": "{participant_id}"}
_OF_LETTER: Final = "id={letter_id}&participant={participant_id}"
_NOTICE: Final = {"kind": "general", "title": "A title", "text": "A text", "audience": "all"}
_ENDPOINT: Final = {"participant": "{participant_id}", "kind": "stream"}

PAGES: Final = (
    PageCall("GET /", answer=303),
    PageCall("GET /login"),
    PageCall("POST /login", fields={"token": "none", "by": "token"}, answer=401),
    PageCall("POST /logout"),
    PageCall("GET /endpoints", "/endpoints?participant={participant_id}"),
    PageCall("GET /endpoints/new"),
    PageCall("POST /endpoints/new", fields={**_ENDPOINT, "name": "new {number}"}, answer=200),
    PageCall("GET /endpoints/{endpoint_id}"),
    PageCall("POST /endpoints/{endpoint_id}/settings", fields={"name": "other {number}", "url": "{url}"}),
    PageCall("POST /endpoints/{endpoint_id}/subscriptions", fields={"subscription": "oms.#"}),
    PageCall("POST /endpoints/{endpoint_id}/test"),
    PageCall("GET /endpoints/{endpoint_id}/tests/{message_id}"),
    PageCall("POST /endpoints/{endpoint_id}/recover", fields={"since": "2026-01-01T00:00"}),
    PageCall("POST /endpoints/{endpoint_id}/remove", fields={"name": f"{MARK} {{number}}"}),
    *map(_turn, ("pause", "resume", "disable", "enable")),
    _turn("verify", 200),
    _turn("rotate-secret", 200),
    PageCall("GET /deliveries", "/deliveries?endpoint={endpoint_id}"),
    PageCall("GET /deliveries.csv", "/deliveries.csv?participant={participant_id}"),
    PageCall("GET /deliveries/{endpoint_id}/{message_id}"),
    PageCall("POST /deliveries/{endpoint_id}/{message_id}/resend"),
    PageCall("GET /letters", "/letters?participant={participant_id}"),
    PageCall("GET /letters/groups", "/letters/groups?participant={participant_id}"),
    PageCall("GET /letters/{deed}/choose", f"/letters/replay/choose?{_OF_LETTER}"),
    PageCall("POST /letters/{deed}/choose", "/letters/replay/choose", LETTER),
    PageCall("GET /letters/{deed}/choose", f"/letters/discard/choose?{_OF_LETTER}"),
    PageCall("POST /letters/{deed}/choose", "/letters/discard/choose", LETTER),
    PageCall("GET /letters/{letter_id}"),
    PageCall("GET /letters/{letter_id}/body"),
    PageCall("GET /replays"),
    PageCall("GET /replays/{replay_id}"),
    *map(_turn_replay, ("pause", "resume", "cancel")),
    PageCall("GET /events"),
    PageCall("GET /events/{name}"),
    PageCall("GET /audit"),
    PageCall("GET /recoveries", "/recoveries?endpoint={endpoint_id}"),
    PageCall("POST /recoveries/{recovery_id}/stop"),
    PageCall("GET /credentials"),
    PageCall("GET /overview"),
    PageCall("GET /live/overview"),
    PageCall("GET /participants"),
    PageCall("GET /participants/{participant_id}"),
    PageCall("GET /participants/new"),
    PageCall("POST /participants/new", fields=_PARTICIPANT),
    *map(_asked, ("event-types", "own", "tell")),
    _changed("event-types", patterns="# oms.{word}.*"),
    _changed("own", resource="{resource_id}"),
    _changed("end", resource="{ending_id}", begin="{began}"),
    _changed("tell", email="p{number}@contacts.example"),
    _changed("forget", email="{contact}"),
    PageCall("GET /journal", "/journal?message_id={message_id}"),
    PageCall("GET /notices/new"),
    PageCall("POST /notices/new", fields=_NOTICE, answer=200),
    PageCall("POST /notices/preview", fields=_NOTICE, answer=200),
    PageCall("POST /notices", fields=_NOTICE),
    PageCall("GET /event-types"),
    PageCall("GET /event-types/{name}"),
    PageCall("POST /event-types/{name}", fields={"sunset": "2{number}-01-01"}),
    PageCall("GET /parked"),
    PageCall("POST /parked", fields={"chosen": "{parked_id}", "to": OWNER}),
)
"""As they are asked for by somebody who keeps the scene's organisation, or operates."""

STREAMS: Final = frozenset({"GET /live/overview"})
"""What goes on until its visitor leaves."""


def unanswered() -> set[str]:
    """Routes without a call, and calls without a route."""
    return {*page_routes()} ^ {one.route for one in PAGES}
