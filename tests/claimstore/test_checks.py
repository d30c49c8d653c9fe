"""A Redis that would lose claims is found at the start, with what to do about it."""

from datetime import timedelta

import pytest

from claimbus.events.errors import ConfigurationError
from claimstore import ClaimStore
from claimstore.checks import examine, judge, project
from claimstore.connection import Connection
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import an_event, noise

GOOD = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "used_memory": "1000000",
    "maxmemory": "2000000",
}


def test_a_redis_as_it_should_be_is_ok_throughout() -> None:
    findings = judge(GOOD, {"appendfsync": "always"})
    assert {finding.severity for finding in findings} == {"ok"}
    assert [finding.setting for finding in findings] == [
        "version", "cluster-enabled", "role", "maxmemory-policy", "appendonly", "appendfsync", "maxmemory",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "fsync", "severity", "setting", "advice"),
    [
        ({"redis_version": "6.2.14"}, "always", "error", "version", "7.0 or newer"),
        ({"redis_mode": "cluster"}, "always", "error", "cluster-enabled", "redis+cluster://"),
        ({"role": "slave"}, "always", "error", "role", "master"),
        ({"maxmemory_policy": "volatile-lru"}, "always", "error", "maxmemory-policy", "noeviction"),
        ({"maxmemory_policy": "allkeys-lru"}, "always", "error", "maxmemory-policy", "noeviction"),
        ({"aof_enabled": "0"}, "always", "error", "appendonly", "set it to yes"),
        ({"aof_last_write_status": "err"}, "always", "error", "appendonly", "disk"),
        ({}, "no", "error", "appendfsync", "set it to always"),
        ({}, "everysec", "warning", "appendfsync", "set it to always"),
        ({}, None, "warning", "appendfsync", "should be always"),
        ({"maxmemory": "0"}, "always", "warning", "maxmemory", "set it"),
        ({"used_memory": "1900000"}, "always", "warning", "maxmemory", "raise it before"),
        ({"used_memory": "2000000"}, "always", "warning", "maxmemory", "check-ins are refused until"),
    ],
)
def test_each_danger_is_found_and_says_what_to_do(
    fact: dict[str, str], fsync: str | None, severity: str, setting: str, advice: str
) -> None:
    settings = {} if fsync is None else {"appendfsync": fsync}
    (found,) = [finding for finding in judge(GOOD | fact, settings) if finding.severity != "ok"]
    assert (found.severity, found.setting) == (severity, setting)
    assert advice in found.message


async def test_a_redis_that_evicts_stops_a_strict_start(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url) as connection:
        await connection.ask("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    with pytest.raises(ConfigurationError, match="maxmemory-policy: is volatile-ttl"):
        await ClaimStore.open(private_redis.url)
    async with await ClaimStore.open(private_redis.url, strict=False) as store:
        assert [found.setting for found in store.findings if found.severity == "error"] == [
            "maxmemory-policy"
        ]


async def test_a_durable_redis_passes_a_strict_start(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url) as store:
        bad = [finding for finding in store.findings if finding.severity != "ok"]
    assert [finding.setting for finding in bad] == ["maxmemory"]


async def test_a_forbidden_config_leaves_only_appendfsync_open(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url) as connection:
        await connection.ask("ACL", "SETUSER", "worker", "on", "nopass", "~*", "+@all", "-config")
        await connection.ask("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+ping")
    async with await Connection.open(private_redis.url.replace("//", "//worker:any@")) as connection:
        findings = {finding.setting: finding.severity for finding in await examine(connection)}
    assert findings["appendfsync"] == "warning"
    assert findings["maxmemory-policy"] == findings["appendonly"] == "ok"
    async with await Connection.open(private_redis.url.replace("//", "//blind:any@")) as connection:
        (finding,) = await examine(connection)
    assert finding.severity == "error"
    assert "INFO" in finding.message


async def test_memory_is_projected_to_a_whole_life(private_redis: PrivateRedis) -> None:
    week = timedelta(days=7)
    async with await ClaimStore.open(private_redis.url, life=week) as store:
        assert await project(store.connection, life=week) == (0, 0, 0)
        await store.check_in_many(an_event(body=noise(2000)) for _ in range(200))
        day_old = await store.check_in(an_event(body=noise(2000)))
        key = f"claim:{{{day_old.claim_id}}}"
        await store.connection.ask("EXPIREAT", key, day_old.expires - 86_400)
        projection = await project(store.connection, life=week)
    assert projection.keys == 201
    assert 201 * 2000 < projection.used < 201 * 4000
    assert projection.expected / projection.used in (pytest.approx(7, rel=0.01), pytest.approx(168, rel=0.01))
