"""Does this Redis keep what it is given? Asked at every start, and by the operators' ``doctor``."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from redis.exceptions import ResponseError

from claimbus.events.errors import ConfigurationError
from claimstore.connection import Connection, Reply
from claimstore.errors import StoreUnavailableError

_FULL: Final = 0.8
_SAMPLES: Final = 500
_SHORTEST_SPAN: Final = 3600


class Finding(NamedTuple):
    """What one of Redis's settings means for claims; a message that is no "ok" says what to do."""

    severity: Literal["ok", "warning", "error"]
    setting: str
    message: str


class Projection(NamedTuple):
    """Claims and chunks, their bytes now, and their bytes once claims expire as fast as they come."""

    keys: int
    used: int
    expected: int


async def examine(connection: Connection) -> list[Finding]:
    """Check version, role, eviction, persistence and memory. Raises StoreUnavailableError.

    Managed services forbid ``CONFIG``; ``INFO`` tells all but ``appendfsync``.
    """
    info = await _unless_refused(connection, "INFO")
    if info is None:
        return [Finding("error", "acl", "forbids INFO: nothing can be checked; grant +info")]
    found = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    setting = await _unless_refused(connection, "CONFIG", "GET", "appendfsync")
    return judge(found, appendfsync=setting[1].decode() if setting else None)


def judge(info: Mapping[str, str], *, appendfsync: str | None) -> list[Finding]:
    """Judge the fields of ``INFO``, and ``appendfsync``, which is None when Redis does not tell it."""
    findings = [
        _version(info["redis_version"]),
        _mode(info.get("redis_mode", "standalone")),
        _role(info["role"]),
        _policy(info["maxmemory_policy"]),
    ]
    if info["aof_enabled"] != "1":
        findings.append(Finding("error", "appendonly", "is no: a restart loses all claims; set it to yes"))
    elif info.get("aof_last_write_status", "ok") != "ok":
        findings.append(Finding("error", "appendonly", "cannot be written; look at Redis's disk and log"))
    else:
        findings += [Finding("ok", "appendonly", "is yes"), _fsync(appendfsync)]
    return [*findings, _memory(int(info["used_memory"]), int(info["maxmemory"]))]


def insist(findings: Iterable[Finding]) -> None:
    """Raise ConfigurationError, with the setting's name, for the first finding by which claims are lost."""
    for finding in findings:
        if finding.severity == "error":
            raise ConfigurationError(f"redis {finding.setting}", finding.message)


async def project(connection: Connection, *, life: timedelta) -> Projection:
    """Project the claims' memory from a sample of random keys, as if they kept coming at the rate so far.

    Raises StoreUnavailableError. It takes a few round trips and no scan of the keys.
    """
    total = await connection.ask("DBSIZE")
    prefix = f"{connection.prefix}claim:{{".encode()
    sampled: list[bytes | None] = await connection.ask_many([("RANDOMKEY",)] * _SAMPLES)
    claims = [key for key in sampled if key is not None and key.startswith(prefix)]
    if not claims:
        return Projection(0, 0, 0)
    sizes = await connection.ask_many(("MEMORY", "USAGE", key) for key in claims)
    left = await connection.ask_many(("TTL", key) for key in claims)
    keys = round(total * len(claims) / len(sampled))
    used = round(keys * sum(size or 0 for size in sizes) / len(claims))
    seconds = life.total_seconds()
    span = min(max(seconds - min(left), _SHORTEST_SPAN), seconds)
    return Projection(keys, used, round(used * seconds / span))


def _version(version: str) -> Finding:
    if int(version.partition(".")[0]) >= 7:
        return Finding("ok", "version", f"is {version}")
    return Finding("error", "version", f"is {version}: Redis 7.0 or newer is needed")


def _mode(mode: str) -> Finding:
    if mode != "cluster":
        return Finding("ok", "cluster-enabled", "is no")
    return Finding("error", "cluster-enabled", "is yes: Redis Cluster is not supported yet")


def _role(role: str) -> Finding:
    if role == "master":
        return Finding("ok", "role", "is master")
    return Finding("error", "role", f"is {role}: it takes no writes; give the address of the master")


def _policy(policy: str) -> Finding:
    if policy == "noeviction":
        return Finding("ok", "maxmemory-policy", "is noeviction")
    return Finding("error", "maxmemory-policy", f"is {policy}: it evicts claims; set it to noeviction")


def _fsync(setting: str | None) -> Finding:
    match setting:
        case "always":
            return Finding("ok", "appendfsync", "is always")
        case "everysec":
            return Finding(
                "warning", "appendfsync", "is everysec: a power loss loses the last second; set it to always"
            )
        case None:
            return Finding(
                "warning", "appendfsync", "cannot be read (CONFIG is forbidden); it should be always"
            )
        case _:
            return Finding(
                "error", "appendfsync", f"is {setting}: a power loss loses claims; set it to always"
            )


def _memory(used: int, limit: int) -> Finding:
    if limit == 0:
        return Finding(
            "warning",
            "maxmemory",
            "is not set: Redis grows until the system kills it; set it below the memory",
        )
    severity: Literal["ok", "warning"] = "warning" if used > _FULL * limit else "ok"
    advice = "; raise it before check-ins are refused" if severity == "warning" else ""
    return Finding(
        severity, "maxmemory", f"is used to {used / limit:.0%} of {limit / 2**20:,.0f} MiB{advice}"
    )


async def _unless_refused(connection: Connection, *command: str) -> Reply:
    try:
        return await connection.ask(*command)
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            return None
        raise
