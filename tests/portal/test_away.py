"""While Redis or RabbitMQ is away: a UAA reads of neither, whatever it asks; an operator reads which."""

import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from html import unescape
from typing import Final, NamedTuple

import pytest
import pytest_asyncio

from claimbus.database import recoveries
from claimbus.database.recoveries import Recovery
from tests.broker.proxy import proxy_before
from tests.portal.operations import READS, WRITES, Call
from tests.portal.page_calls import PAGES, PageCall
from tests.portal.people import Person
from tests.portal.portals import Got
from tests.portal.scene import BEGAN, OWNER, Scene, open_scene
from tests.portal.visitors import visiting
from tests.services import required
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST: Final = "localhost"
"""The host of the server that goes away; the portal itself is not called so."""

UNSPOKEN: Final = re.compile(rf"\bredis\b|rabbitmq|\bamqp|{HOST}", re.IGNORECASE)

WHY: Final = f"RabbitMQ does not answer at {HOST}:5671"
"""Why a recovery failed."""

PAGE_CALLS: Final = (
    PageCall("GET /endpoints", "/endpoints?state=held"),
    PageCall("GET /recoveries", "/recoveries"),
    *sorted(PAGES, key=lambda one: ("logout" in one.route, "remove" in one.route, one.is_form)),
)
"""What takes things away comes late, and what ends the visit last."""

CALLS: Final = (
    Call("GET /v1/endpoints", query="held=true"),
    Call("GET /v1/recoveries"),
    *(one for one in READS if "/v1/" in one.path),
    *sorted(WRITES, key=lambda one: one.method == "DELETE"),
)
"""All that people ask for; what tells machines how the portal is names its servers, whoever asks."""


class Broken(NamedTuple):
    """A scene without one of its servers."""

    scene: Scene
    away: str


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["Redis", "RabbitMQ"])
async def broken(
    request: pytest.FixtureRequest, shared_amqp_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Broken]:
    """Something of everything, and then a server that is gone."""
    away: str = request.param
    urls = {"Redis": required("CLAIMBUS_REDIS_URL"), "RabbitMQ": shared_amqp_url}
    async with proxy_before(urls[away]) as proxy:
        urls[away] = proxy.url.replace("127.0.0.1", HOST)
        directory = tmp_path_factory.mktemp("away")
        async with open_scene(directory, urls["RabbitMQ"], redis_url=urls["Redis"]) as scene:
            _let_a_recovery_fail(scene)
            await proxy.refuse()
            if away == "RabbitMQ":
                there = scene.portal.services
                await eventually(lambda: not (there.consuming.is_open or there.publisher.connection.is_open))
            yield Broken(scene, away)


async def test_a_uaa_reads_of_no_server_on_any_page(broken: Broken) -> None:
    async with visiting(broken.scene.portal) as visitor:
        await Person.of(broken.scene.portal, "uaa of all").come_in(visitor)
        _check([(call.name, await call.make(broken.scene, visitor)) for call in PAGE_CALLS])


async def test_a_uaa_reads_of_no_server_in_any_answer_of_the_api(broken: Broken) -> None:
    token = Person.of(broken.scene.portal, "uaa of all").token
    _check([(call.operation, await call.make(broken.scene, token=token)) for call in CALLS])


async def test_an_operator_reads_which_server_is_away(broken: Broken) -> None:
    scene, away = broken
    asked = {
        "Redis": (["/endpoints?state=held", "/endpoints/{endpoint_id}"], ["/v1/endpoints?held=true"]),
        "RabbitMQ": (["/journal?type=oms.%23", "/endpoints/{endpoint_id}"], []),
    }
    pages, answers = asked[away]
    token = Person.of(scene.portal, "operator").token or ""
    async with visiting(scene.portal) as visitor:
        await visitor.log_in(token)
        for path in ("/overview", *pages):
            assert f"{away} is away" in _text(await visitor.get(scene.fill(path))), path
        assert WHY in _text(await visitor.get("/recoveries"))
    for path in answers:
        assert f"{away} is away" in _text(await scene.portal.get(path, token=token))
    assert WHY in _text(await scene.portal.get("/v1/recoveries", token=token))
    overview = (await scene.portal.get("/v1/overview", token=token)).json
    assert away.lower() in overview[away.lower()]["why"].lower()


def _check(told: Iterable[tuple[str, Got]]) -> None:
    """See to it that no answer speaks of a server, that none broke, and that some could not be given."""
    answers = list(told)
    assert [(name, match[0]) for name, got in answers if (match := UNSPOKEN.search(_text(got)))] == []
    assert [name for name, got in answers if got.status == 500] == []
    assert any(got.status == 503 for _, got in answers)


def _text(got: Got) -> str:
    """All of an answer."""
    return "".join(got.headers.values()) + unescape(got.body.decode(errors="replace"))


def _let_a_recovery_fail(scene: Scene) -> None:
    now = datetime.now(UTC)
    failed = Recovery(
        id="rv_failed",
        endpoint_id=scene.names["endpoint_id"],
        participant_id=OWNER,
        actor="kay",
        reason="",
        since=BEGAN,
        until=None,
        type=None,
        everything=False,
        begun_at=now,
        beat_at=now,
        state="failed",
        why=WHY,
    )
    with scene.portal.services.database.transaction() as sql:
        recoveries.begin(sql, failed)
