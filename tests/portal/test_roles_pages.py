"""Who may do what at the pages: every route, by everybody; and nobody learns a byte of another's."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from claimbus.broker import journal
from tests.portal.operations import NOBODY as NONE
from tests.portal.page_calls import PAGES, unanswered
from tests.portal.people import (
    EVERYBODY,
    KEEPERS,
    KNOWN,
    LOOKERS,
    OPERATORS,
    OTHERS_TOO,
    STRANGERS,
    UNKNOWN,
    Person,
)
from tests.portal.portals import Got
from tests.portal.scene import Scene, open_scene
from tests.portal.test_roles_api import seen
from tests.portal.visitors import visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN: Final = {
    frozenset(EVERYBODY): ("GET /login", "POST /login"),
    KNOWN: ("GET /", "POST /logout"),
    OTHERS_TOO: ("GET /events", "GET /events/{name}"),
    KEEPERS | {"other uaa"}: ("GET /endpoints/new", "GET /credentials", "GET /replays"),
    KEEPERS | {"other uaa", "admin"}: ("GET /audit",),
    LOOKERS: (
        "GET /endpoints",
        "GET /endpoints/{endpoint_id}",
        "GET /endpoints/{endpoint_id}/tests/{message_id}",
        "GET /recoveries",
        "GET /deliveries",
        "GET /deliveries.csv",
        "GET /deliveries/{endpoint_id}/{message_id}",
        "GET /letters",
        "GET /letters/groups",
        "GET /letters/{letter_id}",
    ),
    KEEPERS: (
        "POST /endpoints/new",
        "POST /endpoints/{endpoint_id}/settings",
        "POST /endpoints/{endpoint_id}/subscriptions",
        "POST /endpoints/{endpoint_id}/test",
        "POST /endpoints/{endpoint_id}/recover",
        "POST /endpoints/{endpoint_id}/remove",
        "POST /endpoints/{endpoint_id}/pause",
        "POST /endpoints/{endpoint_id}/resume",
        "POST /endpoints/{endpoint_id}/disable",
        "POST /endpoints/{endpoint_id}/enable",
        "POST /endpoints/{endpoint_id}/verify",
        "POST /endpoints/{endpoint_id}/rotate-secret",
        "POST /deliveries/{endpoint_id}/{message_id}/resend",
        "POST /recoveries/{recovery_id}/stop",
        "GET /letters/replay/choose",
        "POST /letters/replay/choose",
        "GET /replays/{replay_id}",  # of theirs, by who has the name of who made it
        "POST /replays/{replay_id}/pause",
        "POST /replays/{replay_id}/resume",
        "POST /replays/{replay_id}/cancel",
    ),
    OPERATORS: (
        "GET /letters/{letter_id}/body",  # its event is for some only
        "GET /letters/discard/choose",
        "POST /letters/discard/choose",
        "GET /overview",
        "GET /live/overview",
        "GET /participants",
        "GET /participants/{participant_id}",
        "GET /participants/new",
        "POST /participants/new",
        "GET /participants/{participant_id}/event-types",
        "GET /participants/{participant_id}/own",
        "GET /participants/{participant_id}/tell",
        "POST /participants/{participant_id}/event-types",
        "POST /participants/{participant_id}/own",
        "POST /participants/{participant_id}/end",
        "POST /participants/{participant_id}/tell",
        "POST /participants/{participant_id}/forget",
        "GET /journal",
        "GET /notices/new",
        "POST /notices/new",
        "POST /notices/preview",
        "POST /notices",
        "GET /event-types",
        "GET /event-types/{name}",
        "POST /event-types/{name}",
        "GET /parked",
        "POST /parked",
    ),
}
"""To whom what is open, when it is asked for the things of one participant; to nobody else."""

WHO: Final = {name: who for who, several in OPEN.items() for name in several}
LISTS: Final = ("/endpoints", "/recoveries", "/deliveries", "/deliveries.csv", "/letters", "/letters/groups")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One scene for all of them."""
    async with open_scene(tmp_path_factory.mktemp("pages"), shared_amqp_url) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test things of its own, and let a recovery not wait for more at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)
    await scene.renew()


async def test_every_route_has_a_call_and_says_to_whom_it_is_open() -> None:
    assert unanswered() == set()
    assert WHO.keys() == {one.name for one in PAGES}


@pytest.mark.parametrize("name", EVERYBODY)
async def test_what_is_open_is_exactly_what_the_table_says(scene: Scene, name: str) -> None:
    person, marked, wrong = Person.of(scene.portal, name), 0, []
    async with visiting(scene.portal) as visitor:
        await person.come_in(visitor)
        for call in sorted(PAGES, key=lambda one: one.route == "POST /logout"):
            got = await call.make(scene, visitor)
            marked += bool(seen(got))
            if name in WHO[call.name]:
                goes_out = call.route == "POST /logout"
                as_it_should_be = got.status == call.succeeds and led_to_login(got) == goes_out
                if call.is_form:
                    await scene.renew()
            elif name in UNKNOWN:
                as_it_should_be = led_to_login(got)
            else:
                as_it_should_be = got.status == 403
            if not as_it_should_be or (name in STRANGERS and seen(got)):
                wrong.append((call.name, got.status, seen(got), got.body[-600:]))
    assert wrong == []
    assert (marked > 10) == (name in LOOKERS), "the marks are where they were planted"


@pytest.mark.parametrize("name", STRANGERS)
async def test_lists_hold_nothing_of_another_organisation(scene: Scene, name: str) -> None:
    async with visiting(scene.portal) as visitor:
        await Person.of(scene.portal, name).come_in(visitor)
        for path in LISTS:
            got = await visitor.get(path)
            assert (got.status, seen(got)) == (200, False), path


@pytest.mark.parametrize("name", STRANGERS)
async def test_what_is_another_s_and_what_does_not_exist_are_alike(scene: Scene, name: str) -> None:
    theirs, asked = scene.names, 0
    nothing = theirs | {one: NONE for one in theirs if one.endswith("_id")} | {"participant_id": "NONE"}
    async with visiting(scene.portal) as visitor:
        await Person.of(scene.portal, name).come_in(visitor)
        for call in PAGES:
            if name in WHO[call.name]:
                continue
            answers = []
            for scene.names in (theirs, nothing):
                got = await call.make(scene, visitor)
                answers.append((got.status, got.body, {**got.headers, "date": ""}))
            assert answers[0] == answers[1], call.name
            asked += 1
    assert asked > 40


def led_to_login(got: Got) -> bool:
    """Tell whether one is asked to log in first."""
    led = got.headers.get("location", "").partition("?")[0] == "/login"
    return got.status == 303 and led
