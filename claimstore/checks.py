"""Does this Redis keep what it is given? Asked at every start, and by the operators' ``doctor``."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from redis.exceptions import ResponseError

from claimbus.events.errors import ConfigurationError
from claimstore.connection import Connection, Reply
from claimstore.errors import StoreUnavailableError
from claimstore.server import Server

_FULL: Final = 0.8
_SAMPLES: Final = 500
_SHORTEST_SPAN: Final = 3600
_SEVERITIES: Final = ("ok", "warning", "error")


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
    """Check version, role, eviction, persistence, memory and replicas of every master; tell the worst.

    Managed services forbid ``CONFIG``; ``INFO`` tells all but ``appendfsync`` and ``min-replicas-to-write``.
    Raises StoreUnavailableError.
    """
    masters = connection.masters
    found = await asyncio.gather(*(_examined(master, connection) for master in masters))
    return worst({master.name: findings for master, findings in zip(masters, found, strict=True)})


async def _examined(master: Server, connection: Connection) -> list[Finding]:
    info = await _unless_refused(master, "INFO")
    if info is None:
        return [Finding("error", "acl", "forbids INFO: nothing can be checked; grant +info")]
    facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    wanted = ("appendfsync", "min-replicas-to-write")
    told = await _unless_refused(master, "CONFIG", "GET", *wanted) or []
    settings = {name.decode(): value.decode() for name, value in zip(told[::2], told[1::2], strict=True)}
    return judge(facts, settings, clustered=connection.clustered, replicas=connection.replicas)


def worst(findings: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Return of each setting the worst that was found, and at which of the servers unless at all."""
    by_setting: dict[str, list[tuple[Finding, str]]] = {}
    for server, found in findings.items():
        for finding in found:
            by_setting.setdefault(finding.setting, []).append((finding, server))
    merged = []
    for those in by_setting.values():
        severity = max((finding.severity for finding, _ in those), key=_SEVERITIES.index)
        alike: dict[str, list[str]] = {}
        for finding, server in those:
            if finding.severity == severity:
                alike.setdefault(finding.message, []).append(server)
        told = [
            message if len(servers) == len(findings) else f"{message} ({', '.join(servers)})"
            for message, servers in alike.items()
        ]
        merged.append(Finding(severity, those[0][0].setting, "; ".join(told)))
    return merged


def judge(
    info: Mapping[str, str], settings: Mapping[str, str], *, clustered: bool = False, replicas: int = 0
) -> list[Finding]:
    """Judge a server by the fields of ``INFO`` and by its settings, as far as Redis tells them.

    ``clustered``: it is addressed as one of a cluster. ``replicas``: how many must have a claim for it to
    count as checked in.
    """
    findings = [
        _version(info["redis_version"]),
        _mode(info.get("redis_mode", "standalone"), clustered=clustered),
        _role(info["role"]),
        _policy(info["maxmemory_policy"]),
    ]
    if info["aof_enabled"] != "1":
        findings.append(Finding("error", "appendonly", "is no: a restart loses all claims; set it to yes"))
    elif info.get("aof_last_write_status", "ok") != "ok":
        findings.append(Finding("error", "appendonly", "cannot be written; look at Redis's disk and log"))
    else:
        findings += [Finding("ok", "appendonly", "is yes"), _fsync(settings.get("appendfsync"))]
    findings.append(_memory(int(info["used_memory"]), int(info["maxmemory"])))
    if replicas:
        findings += [
            _followed(int(info.get("connected_slaves", 0)), replicas),
            _guarded(settings.get("min-replicas-to-write"), replicas),
        ]
    return findings


def insist(findings: Iterable[Finding]) -> None:
    """Raise ConfigurationError, with the setting's name, for the first finding by which claims are lost."""
    for finding in findings:
        if finding.severity == "error":
            raise ConfigurationError(f"redis {finding.setting}", finding.message)


async def project(connection: Connection, *, life: timedelta) -> Projection:
    """Project the claims' memory from a sample of random keys, as if they kept coming at the rate so far.

    In a cluster it is the sum over all masters. Raises StoreUnavailableError. It takes a few round trips and
    no scan of the keys.
    """
    prefix = f"{connection.prefix}claim:{{".encode()
    shares = await asyncio.gather(*(_projected(master, prefix, life) for master in connection.masters))
    return Projection(*map(sum, zip(*shares, strict=True)))


async def _projected(master: Server, prefix: bytes, life: timedelta) -> Projection:
    total = await master.ask("DBSIZE")
    sampled: list[bytes | None] = await asyncio.gather(*(master.ask("RANDOMKEY") for _ in range(_SAMPLES)))
    claims = [key for key in sampled if key is not None and key.startswith(prefix)]
    if not claims:
        return Projection(0, 0, 0)
    sizes = await asyncio.gather(*(master.ask("MEMORY", "USAGE", key) for key in claims))
    left = await asyncio.gather(*(master.ask("TTL", key) for key in claims))
    keys = round(total * len(claims) / len(sampled))
    used = round(keys * sum(size or 0 for size in sizes) / len(claims))
    seconds = life.total_seconds()
    span = min(max(seconds - min(left), _SHORTEST_SPAN), seconds)
    return Projection(keys, used, round(used * seconds / span))


def _version(version: str) -> Finding:
    if int(version.partition(".")[0]) >= 7:
        return Finding("ok", "version", f"is {version}")
    return Finding("error", "version", f"is {version}: Redis 7.0 or newer is needed")


def _mode(mode: str, *, clustered: bool) -> Finding:
    if (mode == "cluster") == clustered:
        return Finding("ok", "cluster-enabled", f"is {'yes' if clustered else 'no'}")
    return Finding("error", "cluster-enabled", "is yes: its address is redis+cluster://...")


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
    if used >= limit:
        advice = "; check-ins are refused until you raise it or claims end"
    return Finding(
        severity, "maxmemory", f"is used to {used / limit:.0%} of {limit / 2**20:,.0f} MiB{advice}"
    )


def _followed(connected: int, replicas: int) -> Finding:
    count = f"{connected} connected, {replicas} must have a claim"
    if connected < replicas:
        return Finding("warning", "replicas", f"{count}: nothing is checked in until they are connected")
    if connected > replicas:
        what = f"{count}: one without it may be promoted; set CLAIMBUS_REDIS_REPLICAS to {connected}"
        return Finding("warning", "replicas", what)
    return Finding("ok", "replicas", count)


def _guarded(setting: str | None, replicas: int) -> Finding:
    name = "min-replicas-to-write"
    if setting is None:
        return Finding("warning", name, f"cannot be read (CONFIG is forbidden); it should be {replicas}")
    if int(setting) >= replicas:
        return Finding("ok", name, f"is {setting}")
    what = f"is {setting}: a master that lost its replicas takes writes that a failover undoes"
    return Finding("warning", name, f"{what}; set it to {replicas}")


async def _unless_refused(master: Server, *command: str) -> Reply:
    try:
        return await master.ask(*command)
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            return None
        raise
