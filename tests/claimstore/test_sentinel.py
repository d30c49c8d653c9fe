"""A master dies, hangs or steps down: the sentinels name another, and nothing that was checked in is lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimbus.events.errors import ConfigurationError
from claimstore import CheckedIn, Claim, ClaimStore
from claimstore.addresses import limits, parse_address
from claimstore.checks import Finding, judge
from claimstore.connection import Connection
from claimstore.errors import ClaimMissingError, StoreUnavailableError
from claimstore.sentinel import Masters
from tests.claimstore.clusters import SERVICE, SentinelGroup, sentinel_group, wait_for
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import JSON_BODY, an_event
from tests.claimstore.test_checks import GOOD
from tests.claimstore.writers import assert_all_there, writing
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("own_servers")

FAILOVER = 45.0
"""Seconds: two as a rule, more each time that the sentinels do not agree whom to elect."""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    """A master and a replica, which it must have to be written to."""
    with sentinel_group(tmp_path, "--min-replicas-to-write", "1") as group:
        yield group


async def test_a_master_that_dies_takes_nothing_along_that_was_checked_in(group: SentinelGroup) -> None:
    async with await ClaimStore.open(group.url, answer_within=2, cache=0) as store:
        async with writing(store) as written:
            await eventually(lambda: len(written) > 500)
            old = group.master
            old.kill()
            await eventually(lambda: group.master is not old, within=FAILOVER)
            before = len(written)
            old.start()  # as a replica: until there is one again, nothing counts as checked in
            await eventually(lambda: len(written) > before + 500, within=FAILOVER)
        await assert_all_there(store, written)


async def test_a_master_that_hangs_is_left_and_not_believed_when_it_is_back(group: SentinelGroup) -> None:
    async with await ClaimStore.open(group.url, answer_within=1, cache=0) as store:
        old = group.master
        async with writing(store) as written:
            await eventually(lambda: len(written) > 100)
            old.pause()
            await eventually(lambda: group.master is not old, within=FAILOVER)
            old.resume()
            before = len(written)
            await eventually(lambda: len(written) > before + 500, within=FAILOVER)
        await eventually(lambda: old.command("ROLE")[0] == "slave")
        await assert_all_there(store, written)


async def test_a_master_that_steps_down_is_left_and_never_read_as_a_replica(group: SentinelGroup) -> None:
    async with await Connection.open(group.url, prefix="failover:") as connection:
        await connection.ask("SET", "failover:word", "old", durable=True)
        old = group.master
        # Refused until the sentinel has heard from the replica of late (NOGOODSLAVE).
        await asyncio.to_thread(wait_for, lambda: group.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE))
        await eventually(lambda: old.command("ROLE")[0] == "slave", within=FAILOVER)
        await eventually(lambda: set_(connection, "new"), within=FAILOVER)
        reads = calls(old)
        for _ in range(50):
            assert await connection.ask("GET", "failover:word") == b"new"
        assert calls(old) == reads


async def test_a_claim_is_missing_only_if_the_master_of_now_lacks_it(tmp_path: Path) -> None:
    with sentinel_group(tmp_path) as group:
        async with await ClaimStore.open(group.url, replicas=0, connections=1, cache=0) as store:
            old = group.master
            old.command("ACL", "SETUSER", "default", "-slaveof")  # as if no sentinel could reach it
            old.pause()
            await eventually(lambda: group.master is not old, within=FAILOVER)
            old.resume()
            async with await ClaimStore.open(group.url, replicas=0) as producer:
                early, late = await producer.check_in_many([an_event(), an_event()])
            assert await store.find(early.claim_id) is None  # its connection still leads to the old one
            claim = await store.redeem(early.claim_id, expires=early.expires)
            assert claim.event.body == JSON_BODY
            assert await store.find(late.claim_id) is not None
            assert old.command("ROLE")[0] == "master"
            with pytest.raises(ClaimMissingError):
                await store.redeem("never", expires=early.expires)


async def test_claims_that_are_missing_do_not_hinder_the_others(group: SentinelGroup) -> None:
    async with await ClaimStore.open(group.url, replicas=0, cache=0) as store:
        places = await store.check_in_many(an_event() for _ in range(500))
        expires = places[0].expires
        asked = [name for one in places for name in (one.claim_id, f"no-{one.claim_id}")]
        found = await asyncio.gather(
            *(store.redeem(name, expires=expires) for name in asked), return_exceptions=True
        )
    assert [type(one) for one in found] == [Claim, ClaimMissingError] * 500


async def set_(connection: Connection, value: str) -> bool:
    try:
        await connection.ask("SET", "failover:word", value, durable=True)
    except StoreUnavailableError:
        return False
    return True


def calls(redis: PrivateRedis) -> list[str]:
    """How often it was asked to GET, as it counts."""
    return [line for line in redis.command("INFO", "commandstats").split() if line.startswith("cmdstat_get:")]


async def test_what_no_replica_has_is_not_checked_in_and_delays_no_reading(tmp_path: Path) -> None:
    with sentinel_group(tmp_path, replicas=1, sentinels=1) as group:
        async with await ClaimStore.open(group.url, answer_within=2, connections=1, cache=0) as store:
            place = await store.check_in(an_event())
            (replica,) = (one for one in group.nodes if one is not group.master)
            replica.pause()
            refused = [asyncio.ensure_future(store.check_in(an_event())) for _ in range(5)]
            await asyncio.sleep(0)
            await store.redeem(place.claim_id, expires=place.expires)
            assert not any(one.done() for one in refused)
            for one in refused:
                with pytest.raises(StoreUnavailableError, match="0 of 1 replicas"):
                    await one
            replica.resume()
            await eventually(lambda: checked_in(store))
        async with await ClaimStore.open(group.url, replicas=0) as store:
            replica.pause()
            await store.check_in(an_event())
            replica.resume()


async def checked_in(store: ClaimStore) -> CheckedIn | None:
    try:
        return await store.check_in(an_event())
    except StoreUnavailableError:
        return None


async def test_what_replicas_should_guard_and_do_not_is_found(tmp_path: Path) -> None:
    with sentinel_group(tmp_path, replicas=0, sentinels=1) as group:
        async with await ClaimStore.open(group.url) as store:
            found = {finding.setting: finding for finding in store.findings}
    assert found["replicas"].severity == found["min-replicas-to-write"].severity == "warning"
    assert "0 connected, 1 must have a claim" in found["replicas"].message
    assert "set it to 1" in found["min-replicas-to-write"].message


async def test_guarding_replicas_are_found_to_be_so(group: SentinelGroup) -> None:
    async with await ClaimStore.open(group.url) as store:
        found = {finding.setting: finding.severity for finding in store.findings}
    assert found["replicas"] == found["min-replicas-to-write"] == "ok"


def test_a_replica_that_could_be_promoted_without_a_claim_is_found() -> None:
    assert replicas_judged(connected=1, needed=1).severity == "ok"
    found = replicas_judged(connected=2, needed=1)
    assert found.severity == "warning"
    assert "CLAIMBUS_REDIS_REPLICAS to 2" in found.message


def replicas_judged(*, connected: int, needed: int) -> Finding:
    found = judge(GOOD | {"connected_slaves": str(connected)}, {}, replicas=needed)
    return next(finding for finding in found if finding.setting == "replicas")


async def test_one_live_sentinel_is_enough_to_start(group: SentinelGroup) -> None:
    group.sentinels[0].kill()
    group.sentinels[1].pause()
    async with await Connection.open(group.url, answer_within=2) as connection:
        await connection.ping()


async def test_no_sentinel_is_forgotten_when_many_ask_at_once(group: SentinelGroup) -> None:
    group.sentinels[0].kill()
    masters = Masters(parse_address(group.url), limits(most=20, connect_within=5))
    for _ in range(5):
        await asyncio.gather(*(masters.get_master_address() for _ in range(20)))
    assert len(set(masters.sentinel_manager.sentinels)) == 3
    await masters.aclose()


async def test_an_unknown_service_is_named(group: SentinelGroup) -> None:
    with pytest.raises(StoreUnavailableError, match="healthy master 'letters'"):
        await Connection.open(group.url.replace(SERVICE, "letters"), connect_within=0)


async def test_the_masters_password_is_taken_and_never_told(tmp_path: Path) -> None:
    with sentinel_group(tmp_path, replicas=0, sentinels=1) as group:
        group.master.command("CONFIG", "SET", "requirepass", "right-secret")
        for user in ("", ":wrong-secret@"):
            with pytest.raises(ConfigurationError, match="redis_url: Redis refuses") as refused:
                await Connection.open(group.url.replace("//", f"//{user}"), connect_within=600)
            assert "secret" not in str(refused.value)
        async with await Connection.open(group.url.replace("//", "//:right-secret@")) as connection:
            await connection.ping()
