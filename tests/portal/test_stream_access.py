"""A stream is open to its endpoint's participant and to nobody else; being refused tells nothing."""

import ssl
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from claimbus.broker import connections
from claimbus.database import endpoints, revocations, tokens
from claimbus.database.access import Role
from claimbus.events.stream import CloseCode
from claimbus.portal import stream_turnstile
from claimbus.portal.stream_admission import TOO_OFTEN, Guest
from claimbus.portal.stream_registry import Streams
from tests.portal.portals import ACT
from tests.portal.streams import Stage, identities, stage, stream_settings
from tests.waiting import eventually

__all__ = ["stage", "stream_settings"]

EVERYBODY = ("PGAE", "SCE1", "SDG2", "PGAE_2")
FORGED = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=30)


@pytest.mark.parametrize("role", [Role.PARTICIPANT, Role.UAA])
async def test_a_token_opens_a_stream_too(stage: Stage, role: Role) -> None:
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE")
    token = stage.portal.token(role, participant="PGAE")
    async with stage.stream(endpoint, None, token=token) as client:
        await client.take()


async def test_who_shows_nothing_that_counts_is_not_authenticated(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, None) as client:
        assert await client.closed() == CloseCode.UNAUTHENTICATED
    async with stage.stream(endpoint, "NOBODY") as client:
        assert await client.closed() == CloseCode.UNAUTHENTICATED
    async with stage.stream(endpoint, "PGAE", token="cb_forged") as client:
        assert await client.closed() == CloseCode.UNAUTHENTICATED


@pytest.mark.parametrize("role", [Role.PUBLISHER, Role.OPERATOR, Role.ADMIN])
async def test_the_isos_own_people_open_no_streams(stage: Stage, role: Role) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, None, token=stage.portal.token(role)) as client:
        assert await client.closed() == CloseCode.NOT_ENTITLED


async def test_that_both_are_of_one_organisation_opens_nothing(stage: Stage) -> None:
    stage.portal.participant("PGAE_B", organisation="PGAE Inc")
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, None, token=stage.portal.token_of("PGAE_B")) as client:
        assert await client.closed() == CloseCode.NOT_ENTITLED


@pytest.fixture
async def crowd(stage: Stage) -> tuple[Stage, dict[str, str]]:
    """Several participants, each with an endpoint, and whose each is, in the order of the names."""
    owned = {(await stage.endpoint("PGAE")).id: "PGAE"}
    for name in EVERYBODY[1:]:
        stage.participant(name)
        owned[(await stage.endpoint(name)).id] = name
    return stage, owned


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    who=st.sampled_from(EVERYBODY),
    endpoint=st.sampled_from(EVERYBODY) | FORGED,
    audience=st.sets(st.sampled_from(EVERYBODY), min_size=1),
)
async def test_only_ones_own_endpoint_opens_and_only_ones_own_events_come(
    crowd: tuple[Stage, dict[str, str]], who: str, endpoint: str, audience: set[str]
) -> None:
    """Somebody else's endpoint and one that was never there are refused in the same way."""
    stage, owned = crowd
    ids = {name: one for one, name in owned.items()}
    async with stage.stream(ids.get(endpoint, endpoint), who) as client:
        if endpoint != who:
            assert await client.closed() == CloseCode.NOT_ENTITLED
            assert not client.got
            return
        sent = await stage.publish(*audience)
        while who in audience and sent[0] not in identities(client.got):
            await client.ack(*await client.take())
        await client.nothing_comes(within=0.05)
    assert set(identities(client.got)) <= stage.published_to(who)


async def test_a_removed_endpoint_is_known_to_its_owner_alone(stage: Stage) -> None:
    stage.participant("SCE1")
    endpoint = await stage.endpoint("PGAE")
    await stage.turn(endpoint, "remove")
    async with stage.stream(endpoint, "PGAE") as client:
        assert await client.closed() == CloseCode.NO_STREAM
    async with stage.stream(endpoint, "SCE1") as client:
        assert await client.closed() == CloseCode.NOT_ENTITLED


async def test_no_stream_from_what_is_none(stage: Stage) -> None:
    database = stage.services.database
    with database.transaction() as sql:
        webhook = endpoints.add(sql, "PGAE", ACT, name="hook", url="https://pgae.example/")
    async with stage.stream(webhook, "PGAE") as client:
        assert await client.closed() == CloseCode.NO_STREAM
    endpoint = await stage.endpoint("PGAE")
    await stage.turn(endpoint, "disable")
    async with stage.stream(endpoint, "PGAE") as client:
        assert await client.closed() == CloseCode.DISABLED


async def test_one_participants_streams_are_limited_and_others_are_not_hurt(stage: Stage) -> None:
    stage.participant("SCE1")
    endpoint, other = await stage.endpoint("PGAE"), await stage.endpoint("SCE1")
    streams = [stage.stream(endpoint, "PGAE") for _ in range(8)]
    for stream in streams:
        await stream.__aenter__()
    count = stage.services.registry.get_sample_value
    await eventually(lambda: count("claimbus_open_streams") == 8)
    async with stage.stream(endpoint, "PGAE") as client:
        assert await client.closed() == CloseCode.TOO_MANY
    async with stage.stream(other, "SCE1") as client:
        await stage.publish("SCE1")
        await client.take()
    await streams.pop().__aexit__(None, None, None)
    await eventually(lambda: count("claimbus_open_streams") == 7)
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        await client.socket.ping()
    for stream in streams:
        await stream.__aexit__(None, None, None)


async def test_a_certificate_that_is_revoked_ends_its_stream(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        await client.ack(*await client.take())
        with stage.services.database.transaction() as sql:
            for der in stage.services.trust.seen():
                pem = ssl.DER_cert_to_PEM_cert(der).encode()
                revocations.revoke(sql, revocations.read(pem)[0], ACT)
        assert await client.closed() == CloseCode.UNAUTHENTICATED
    async with stage.stream(endpoint, "PGAE") as client:
        assert await client.closed() == CloseCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("prefetch", "subprotocol", "status"),
    [
        (32, "claimbus.v2", 400),
        (0, "claimbus.v1", 422),
        (257, "claimbus.v1", 422),
        ("many", "claimbus.v1", 422),
        ("", "claimbus.v1", 422),
        ("9" * 5000, "claimbus.v1", 422),
    ],
)
async def test_what_is_no_proper_request_is_told_so_by_http(
    stage: Stage, prefetch: int | str, subprotocol: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with stage.stream("ep_1", "PGAE", prefetch=prefetch, subprotocol=subprotocol):
            pass
    assert refused.value.response.status_code == status
    assert refused.value.response.headers["content-type"] == "application/problem+json"


async def test_a_page_in_a_browser_opens_no_stream(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    with pytest.raises(InvalidStatus) as refused:
        async with stage.stream(endpoint, "PGAE", origin="https://elsewhere.example"):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("frame", [b"", b"\x80", b"\xc1", "text", b"\x81\xa3ack\x05", b"\x81\xa5other\x01"])
async def test_a_malformed_frame_ends_the_stream(stage: Stage, frame: bytes | str) -> None:
    """The last but one is an ack of a delivery that was never made."""
    endpoint = await stage.endpoint("PGAE")
    await stage.publish("PGAE")
    async with stage.stream(endpoint, "PGAE") as client:
        await client.take()
        await client.socket.send(frame)
        assert await client.closed() == CloseCode.MALFORMED
    assert await stage.left(endpoint) == 1


async def test_a_token_that_is_revoked_ends_its_stream(stage: Stage) -> None:
    endpoint = await stage.endpoint("PGAE")
    act = ACT
    token = stage.portal.token(Role.PARTICIPANT, participant="PGAE", lives=timedelta(days=1))
    async with stage.stream(endpoint, None, token=token) as client:
        sent = await stage.publish("PGAE")
        assert identities(await client.take()) == sent
        with stage.services.database.transaction() as sql:
            for known in tokens.find(sql):
                tokens.revoke(sql, known.id, act)
        assert await client.closed() == CloseCode.UNAUTHENTICATED
    assert await stage.left(endpoint) == 1


async def test_who_opens_streams_all_the_time_is_stopped_and_others_are_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_turnstile, "AT_ONCE", 3)
    monkeypatch.setattr(stream_turnstile, "EVERY", 60.0)
    stage.participant("SCE1")
    endpoint, other = await stage.endpoint("PGAE"), await stage.endpoint("SCE1")
    for _ in range(3):
        async with stage.stream(endpoint, "PGAE") as client:
            await stage.publish("PGAE")
            await client.ack(*await client.take())
    for _ in range(2):
        async with stage.stream(endpoint, "PGAE") as client:
            assert await client.closed() == CloseCode.TOO_MANY
            assert client.socket.close_reason == TOO_OFTEN
    async with stage.stream(other, "SCE1") as client:
        await stage.publish("SCE1")
        await client.take()


@given(comings=st.lists(st.floats(0, 5), max_size=200))
def test_a_turnstile_lets_in_a_burst_and_then_a_steady_rate(comings: list[float]) -> None:
    """Whatever the pauses: in a time never more than what was saved up, and what that time adds."""
    now = 1000.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("claimbus.portal.stream_turnstile.monotonic", lambda: now)
        turnstile, entered = stream_turnstile.Turnstile(), 0
        for pause in comings:
            now += pause
            entered += turnstile.lets_in("PGAE")
        assert entered <= stream_turnstile.AT_ONCE + (now - 1000) / stream_turnstile.EVERY
        now += stream_turnstile.EVERY
        assert turnstile.lets_in("PGAE"), "who waits is let in"


async def test_a_look_that_fails_does_not_keep_revoked_credentials_alive(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await stage.endpoint("PGAE")
    token = stage.portal.token(Role.PARTICIPANT, participant="PGAE")

    async def stumble(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    async with stage.stream(endpoint, None, token=token) as client:
        await stage.publish("PGAE")
        await client.take()
        monkeypatch.setattr(Streams, "_inform", stumble)
        with stage.services.database.transaction() as sql:
            for known in tokens.find(sql):
                tokens.revoke(sql, known.id, ACT)
        assert await client.closed() == CloseCode.UNAUTHENTICATED


async def test_a_stream_is_closed_when_it_cannot_be_told_for_long_whose_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.services.streams._identified_within = 2.0
    endpoint = await stage.endpoint("PGAE")

    async def stumble(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    async with stage.stream(endpoint, "PGAE") as client:
        await stage.publish("PGAE")
        await client.take()
        monkeypatch.setattr(Guest, "identify_anew", stumble)
        assert await client.closed() == CloseCode.UNAVAILABLE
    assert await stage.left(endpoint) == 1


async def test_more_streams_than_a_connection_has_channels_take_a_further_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    consuming = stage.services.consuming
    monkeypatch.setattr(connections, "CHANNELS", consuming.channels + 2)
    stage.participant("SCE1")
    owners = ("PGAE", "SCE1", "PGAE", "SCE1")
    ends = [(await stage.endpoint(who, name=f"stream {n}"), who) for n, who in enumerate(owners)]
    async with AsyncExitStack() as streams:
        clients = [await streams.enter_async_context(stage.stream(*end)) for end in ends]
        await stage.publish("PGAE", "SCE1", count=3)
        for client in clients:
            await client.ack(*await client.take(3))
        assert consuming.channels <= connections.CHANNELS
        assert stage.services.streams._connections._further
