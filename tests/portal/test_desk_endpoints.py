"""Endpoints at the desk: those that are held, and how often their receivers may be sent to."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.settings import Settings
from claimbus.database.access import Principal, Role
from claimbus.events.errors import UnavailableError
from claimbus.portal.desk import deliveries, endpoints, holding, rates
from claimbus.portal.desk.endpoints import New, Outcome
from claimbus.portal.desk.rates import Buckets, TooOftenError
from claimbus.portal.problems import ForbiddenError
from tests.claimstore.private import PrivateRedis
from tests.portal import seeding
from tests.portal.asking import asking
from tests.portal.portals import Portal, open_portal
from tests.portal.seeding import uaa as browsing

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))
OTHER = Principal(name="another", roles=frozenset({Role.OPERATOR}))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of the rates, which stands still."""
    stopped = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(rates, "time", stopped)
    return stopped


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"portal_rate": 0.0})


async def hold(portal: Portal, endpoint_id: str) -> None:
    """Let an endpoint fail until it is held."""
    for _ in range(5):
        await portal.services.holds.failed(endpoint_id)


async def test_held_endpoints_are_listed_page_by_page_and_the_others_too(portal: Portal) -> None:
    for name in ("PGAE", "SCEC"):
        portal.participant(name)
    made = [
        seeding.endpoint(portal, owner, f"number {number}")
        for owner in ("PGAE", "SCEC")
        for number in range(6)
    ]
    for one in made[::2]:
        await hold(portal, one.id)
    await portal.services.holds.failed(made[1].id)  # fails, and is not held
    async with asking(portal, portal.token(Role.OPERATOR)) as program:
        for held, expected in ((True, made[::2]), (False, made[1::2])):
            seen, cursor = [], ""
            while cursor is not None:
                query = f"held={str(held).lower()}&limit=2" + (f"&cursor={cursor}" if cursor else "")
                got = (await program.get(f"/v1/endpoints?{query}")).json
                seen += [one["id"] for one in got["items"]]
                cursor = got["cursor"]
            assert seen == [one.id for one in expected]
        got = await program.get("/v1/endpoints?held=true&participant_id=SCEC&text=number+4")
        assert [one["id"] for one in got.json["items"]] == [made[10].id]
    token = portal.token(Role.UAA, organisation="PGAE Inc")
    got = await portal.get("/v1/endpoints?held=true", token=token)
    assert [one["id"] for one in got.json["items"]] == [one.id for one in made[:6:2]]


async def test_nobody_is_told_that_nothing_is_held_while_redis_is_away(
    settings: Settings, tmp_path: Path
) -> None:
    redis = PrivateRedis(tmp_path)
    redis.start()
    redis.wait()
    own = settings.model_copy(update={"redis_url": redis.url})
    try:
        async with open_portal(own, tmp_path) as portal:
            portal.participant("PGAE")
            one = seeding.endpoint(portal)
            await hold(portal, one.id)
            redis.kill()
            with pytest.raises(holding.UnknownError) as away:
                await endpoints.page(portal.services, OPERATOR, held=True)
            assert isinstance(away.value, UnavailableError)  # so pages show the rest
            got = await portal.get("/v1/endpoints?held=true", token=portal.token(Role.OPERATOR))
            assert (got.status, got.headers["retry-after"]) == (503, "5")
            assert "not known while Redis is away" in got.json["detail"]
            assert (await endpoints.page(portal.services, OPERATOR)).rows == (one,)
            redis.start()
            redis.wait()
    finally:
        redis.kill()


async def until_refused(doing: Callable[[], Awaitable[object]], most: int) -> tuple[int, TooOftenError]:
    """Do something again and again; return how often it went, and how it was refused then."""
    for count in range(most + 1):
        try:
            await doing()
        except TooOftenError as refused:
            return count, refused
    raise AssertionError(f"it went {most + 1} times")


@pytest.mark.usefixtures("clock")
async def test_an_endpoint_gets_ten_test_events_a_minute_whoever_asks(portal: Portal) -> None:
    portal.participant("PGAE")
    one, two = seeding.endpoint(portal, name="one"), seeding.endpoint(portal, name="two")
    count, refused = await until_refused(
        lambda: endpoints.send_test(portal.services, OPERATOR, one.id), rates.TESTING.to
    )
    assert count == rates.TESTING.to == 10
    assert (refused.status, refused.headers) == (429, {"retry-after": "6"})
    assert "an endpoint may have 10 test events a minute; try again in 6 s" in refused.detail
    with pytest.raises(TooOftenError):
        await endpoints.send_test(portal.services, OTHER, one.id)
    await endpoints.send_test(portal.services, OPERATOR, two.id)
    with pytest.raises(ForbiddenError):  # and a stranger cannot tell, nor use it up
        await endpoints.send_test(portal.services, Principal(name="x", roles=frozenset({Role.UAA})), one.id)


@pytest.mark.usefixtures("clock")
async def test_pages_and_api_say_when_to_try_again(portal: Portal) -> None:
    portal.participant("PGAE")
    one = seeding.endpoint(portal)
    for _ in range(rates.TESTING.to):
        await endpoints.send_test(portal.services, OPERATOR, one.id)
    token = portal.token(Role.UAA, organisation="PGAE Inc")
    got = await portal.ask("POST", f"/v1/endpoints/{one.id}/test", token=token)
    assert (got.status, got.headers["content-type"]) == (429, "application/problem+json")
    assert got.headers["retry-after"] == "6"
    async with browsing(portal) as visitor:
        await visitor.get(f"/endpoints/{one.id}")
        page = await visitor.post(f"/endpoints/{one.id}/test", accept="text/html")
        assert (page.status, page.headers["retry-after"]) == (429, "6")
        assert "an endpoint may have 10 test events a minute" in seeding.text(page)


@pytest.mark.usefixtures("clock")
async def test_a_new_address_counts_as_a_verification(portal: Portal) -> None:
    portal.participant("PGAE")
    url = "https://receiver.invalid/"
    one = seeding.endpoint(portal, url=url)
    count, _ = await until_refused(
        lambda: rates_only(endpoints.change(portal.services, OPERATOR, one.id, {"url": url})),
        rates.VERIFYING.to,
    )
    assert count == rates.VERIFYING.to
    with pytest.raises(TooOftenError):
        await endpoints.verify(portal.services, OPERATOR, one.id)
    new = endpoints.New(participant_id="PGAE", kind="webhook", settings={"name": "new", "url": url})
    count, _ = await until_refused(
        lambda: rates_only(endpoints.add(portal.services, OPERATOR, new)), rates.VERIFYING.each
    )
    assert count == rates.VERIFYING.each - rates.VERIFYING.to


async def rates_only(doing: Awaitable[object]) -> None:
    """Do something; whether it succeeds does not matter, but whether it is refused for its rate."""
    try:
        await doing
    except TooOftenError:
        raise
    except Exception:  # noqa: BLE001 - a host that has no address, a name that is taken
        pass


@pytest.mark.usefixtures("clock")
async def test_deliveries_are_sent_again_sixty_times_a_minute(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "RESENDING", rates.Pace("deliveries sent again", each=3, to=60))
    portal.participant("PGAE")
    at = seeding.endpoint(portal)
    checked_in = await portal.claim()
    seeding.record(
        portal, seeding.attempt(at, claim_id=checked_in.claim_id, type="market.dam.closed", partitionkey=None)
    )
    count, refused = await until_refused(
        lambda: deliveries.resend(portal.services, OPERATOR, at.id, "evt_1"), 3
    )
    assert count == 3
    assert "you may have 3 deliveries sent again a minute; try again in 20 s" in refused.detail
    await deliveries.resend(portal.services, OTHER, at.id, "evt_1")


@given(st.lists(st.floats(0, 100), max_size=50), st.floats(0.05, 10), st.integers(1, 20))
def test_no_bucket_gives_more_than_it_held_and_got(moments: list[float], rate: float, full: int) -> None:
    buckets, taken = Buckets(), 0
    for now in sorted(moments):
        wait = buckets.take("key", rate, full, now)
        taken += not wait
        assert taken <= full + rate * now + 1e-6
        if wait:
            assert buckets.take("key", rate, full, now + wait + 1e-6) == 0
            return


async def test_a_webhook_whose_verification_breaks_off_is_there_with_its_secret(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.participant("PGAE")

    async def cut_short(*_: object) -> Outcome:
        raise UnavailableError("away")

    monkeypatch.setattr(endpoints, "verified", cut_short)
    url = "https://8.8.8.8/hook"
    new = New(participant_id="PGAE", kind="webhook", settings={"name": "one", "url": url})
    outcome = await endpoints.add(portal.services, OPERATOR, new)
    assert outcome.endpoint.state == "pending"
    assert outcome.late == endpoints.NOT_VERIFIED
    there = await endpoints.get(portal.services, OPERATOR, outcome.endpoint.id)
    assert outcome.secret == there.secrets[0].value
