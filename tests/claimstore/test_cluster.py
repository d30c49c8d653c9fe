"""Slots move, masters die: commands find their way, and nothing that was checked in is lost."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import ClusterDownError, ResponseError, TryAgainError

from claimbus.events.errors import ConfigurationError
from claimstore import ClaimStore
from claimstore.checks import Finding, examine, project, worst
from claimstore.connection import Connection
from claimstore.errors import ClaimMissingError, StoreUnavailableError
from claimstore.script import Script
from claimstore.usage import claims_by_key
from tests.claimstore.clusters import RedisCluster, redis_cluster
from tests.claimstore.private import PrivateRedis, free_port
from tests.claimstore.samples import JSON_BODY, an_event, noise
from tests.claimstore.writers import assert_all_there, writing
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("own_servers")

FAILOVER = 45.0
"""Seconds: two as a rule, more each time that the masters do not agree whom to elect."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster without replicas, whose slots a test may move."""
    with redis_cluster(tmp_path_factory.mktemp("bare"), replicas=0) as cluster:
        yield cluster


def another(cluster: RedisCluster, key: str) -> int:
    """The place of a master that does not have the key."""
    masters = cluster.masters()
    return (masters.index(cluster.master_of(key)) + 1) % len(masters)


async def test_a_master_that_dies_takes_nothing_along_that_was_checked_in(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster:
        async with await ClaimStore.open(cluster.url, answer_within=2, cache=0) as store:
            async with writing(store) as written:
                await eventually(lambda: len(written) > 500)
                victim = cluster.masters()[0]
                victim.kill()
                await eventually(lambda: victim not in cluster.masters(), within=FAILOVER)
                victim.start()  # as a replica: without one the new master could lose what it is given
                await eventually(
                    lambda: {shard(cluster, one.claim_id) for one in written[-20:]} == {0, 1, 2},
                    within=FAILOVER,
                )
            await assert_all_there(store, written)


def shard(cluster: RedisCluster, claim_id: str) -> int:
    return cluster.masters().index(cluster.master_of(f"claim:{{{claim_id}}}"))


async def test_a_claim_is_missing_only_if_the_master_of_now_lacks_it(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, "--cluster-require-full-coverage", "no", replicas=0) as cluster:
        async with await ClaimStore.open(cluster.url, replicas=0, cache=0) as store:
            heir = cluster.masters()[0]
            claim_id = next(name for name in map(str, range(1000)) if shard(cluster, name) == 1)
            key = f"claim:{{{claim_id}}}"
            old = cluster.replace(key, heir)
            at_heir = f"redis+cluster://127.0.0.1:{heir.port}"
            async with await ClaimStore.open(at_heir, replicas=0) as producer:
                place = await producer.check_in(an_event(), claim_id=claim_id)
            assert await store.find(claim_id) is None  # it still believes who was cut off
            assert (await store.redeem(claim_id, expires=place.expires)).event.body == JSON_BODY
            assert old.command("CLUSTER", "INFO").startswith("cluster_state:ok")
            heir.command("DEL", key)
            with pytest.raises(ClaimMissingError):
                await store.redeem(claim_id, expires=place.expires)


async def test_commands_follow_a_slot_that_moved_while_they_are_sent(bare: RedisCluster) -> None:
    async with await Connection.open(bare.url, replicas=0) as connection:
        keys = [f"{{moving}}:{number}" for number in range(2000)]
        await connection.ask_many(("SET", key, key) for key in keys)
        for _ in range(3):
            reading = asyncio.create_task(connection.ask_many(("GET", key) for key in keys))
            await asyncio.to_thread(bare.move, "{moving}", bare.masters()[another(bare, "{moving}")])
            assert await reading == [key.encode() for key in keys]
            assert await connection.ask_many(("GET", key) for key in keys) == [key.encode() for key in keys]


async def test_a_slot_that_is_being_moved_is_found_on_both_masters(bare: RedisCluster) -> None:
    both = Script("return redis.call('MGET', KEYS[1], KEYS[2])")
    async with await Connection.open(bare.url, replicas=0) as connection:
        keys = [f"{{halfway}}:{number}" for number in range(10)]
        await connection.ask_many(("SET", key, key) for key in keys)
        target = bare.masters()[another(bare, "{halfway}")]
        bare.begin_to_move("{halfway}", target)
        bare.move_keys("{halfway}", target, count=5)
        assert await connection.ask_many(("GET", key) for key in keys) == [key.encode() for key in keys]
        await connection.ask("SET", "{halfway}:new", "new")
        assert await connection.ask("GET", "{halfway}:new") == b"new"
        here = bare.keys_beside("{halfway}")
        there = min(set(keys) - set(here))
        with pytest.raises(StoreUnavailableError, match="rehashing") as refused:
            await both.run(connection, [here[0], there])
        assert isinstance(refused.value.__cause__, TryAgainError)
        bare.finish_to_move("{halfway}", target)
        assert await both.run(connection, [here[0], there]) == [here[0].encode(), there.encode()]


async def test_a_slot_that_nobody_has_is_unavailable_until_somebody_has_it(bare: RedisCluster) -> None:
    async with await Connection.open(bare.url, replicas=0) as connection:
        await connection.ask("SET", "{orphan}", "there")
        owner = bare.master_of("{orphan}")
        (slot,) = [await connection.masters[0].ask("CLUSTER", "KEYSLOT", "{orphan}")]
        for master in bare.masters():
            with suppress(ResponseError):  # who had it told the others so
                master.command("CLUSTER", "DELSLOTS", slot)
        with pytest.raises(StoreUnavailableError) as refused:
            await connection.ask("GET", "{orphan}")
        assert isinstance(refused.value.__cause__, ClusterDownError)
        owner.command("CLUSTER", "ADDSLOTS", slot)

        async def found() -> bool:
            try:
                return bool(await connection.ask("GET", "{orphan}") == b"there")
            except StoreUnavailableError:
                return False

        await eventually(found)
        await eventually(bare.ready)


async def test_every_master_is_checked_and_counted(bare: RedisCluster) -> None:
    week = timedelta(days=7)
    async with await ClaimStore.open(bare.url, replicas=0, life=week) as store:
        before = await project(store.connection, life=week)
        await store.check_in_many(an_event(body=noise(2000)) for _ in range(300))
        await store.check_in(an_event(body=noise(1_500_000)))
        after = await project(store.connection, life=week)
        assert after.keys - before.keys == pytest.approx(300 + 1 + 6, rel=0.2)  # by a sample of random keys
        assert (await claims_by_key(store.connection))[None] == 301
        evicting = bare.masters()[1]
        evicting.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        (error,) = [one for one in await examine(store.connection) if one.severity == "error"]
        evicting.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert error.setting == "maxmemory-policy"
    assert error.message.endswith(f"set it to noeviction (127.0.0.1:{evicting.port})")


def test_the_worst_of_each_setting_is_told_with_the_servers_that_have_it() -> None:
    def memory(percent: int) -> Finding:
        return Finding("warning" if percent > 80 else "ok", "maxmemory", f"is used to {percent}%")

    policy = Finding("ok", "maxmemory-policy", "is noeviction")
    found = worst({"one": [policy, memory(10)], "two": [policy, memory(90)], "three": [policy, memory(20)]})
    assert found == [policy, Finding("warning", "maxmemory", "is used to 90% (two)")]


async def test_who_may_not_follow_a_slot_that_is_being_moved_spoils_nobody_elses_reply(
    bare: RedisCluster,
) -> None:
    async with await Connection.open(bare.url, replicas=0, connections=1) as connection:
        target = bare.masters()[another(bare, "{forbidden}")]
        beside = next(f"{{{n}}}" for n in range(1000) if bare.master_of(f"{{{n}}}") is target)
        await connection.ask("SET", beside, "there")
        bare.begin_to_move("{forbidden}", target)
        target.command("ACL", "SETUSER", "default", "-asking")
        try:
            refused = [connection.ask("GET", "{forbidden}") for _ in range(20)]
            allowed = []
            for _ in range(40):  # behind each other, so that those that were sent on get between them
                allowed += [connection.ask("GET", beside) for _ in range(70)]
                await asyncio.sleep(0)
            found = await asyncio.gather(*refused, return_exceptions=True)
            assert {type(one) for one in found} == {StoreUnavailableError}
            assert set(await asyncio.gather(*allowed)) == {b"there"}
        finally:
            target.command("ACL", "SETUSER", "default", "+asking")
            bare.finish_to_move("{forbidden}", target)


async def test_masters_that_do_not_know_their_names_are_found(bare: RedisCluster) -> None:
    for master in bare.masters():
        master.command("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    try:
        async with await Connection.open(bare.url, replicas=0) as connection:
            await connection.ask("SET", "{nameless}", "there")
            bare.move("{nameless}", bare.masters()[another(bare, "{nameless}")])
            assert await connection.ask("GET", "{nameless}") == b"there"
    finally:
        for master in bare.masters():
            master.command("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


async def test_a_server_that_left_the_cluster_is_not_believed(bare: RedisCluster, tmp_path: Path) -> None:
    lonely = PrivateRedis(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    lonely.start()
    try:
        lonely.wait()
        alone = f"redis+cluster://127.0.0.1:{lonely.port}"
        for _ in range(5):  # the seeds are asked in any order
            async with await Connection.open(f"{alone},{bare.url.partition('//')[2]}") as connection:
                assert len(connection.masters) == len(bare.nodes)
        with pytest.raises(StoreUnavailableError, match="which slots"):
            await Connection.open(alone, connect_within=0.2)
    finally:
        lonely.kill()


async def test_a_server_that_is_no_cluster_stops_the_start(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis_url: .*no cluster"):
        await Connection.open(redis_url.removesuffix("/0").replace("redis://", "redis+cluster://"))


async def test_a_cluster_given_as_one_server_stops_a_strict_start(bare: RedisCluster) -> None:
    with pytest.raises(ConfigurationError, match="cluster-enabled: is yes"):
        await ClaimStore.open(f"redis://127.0.0.1:{bare.nodes[0].port}/0")
