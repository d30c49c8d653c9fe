"""Redis in several processes: a master with replicas and sentinels, and a cluster; all of the test's own.

Each ends with the ``with`` block, by process ID. The timeouts are short, so a failover takes two seconds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.claimstore.private import PrivateRedis, free_port

SERVICE: Final = "claims"
SLOTS: Final = 16384

T = TypeVar("T")


class Sentinel(PrivateRedis):
    """A process that watches one master and, with the others, puts a replica in its place."""

    def __init__(
        self, folder: Path, master_port: int, *settings: str, quorum: int = 1, down_after_ms: int = 500
    ) -> None:
        super().__init__(folder, *settings)
        self._configuration = folder / "sentinel.conf"  # it writes down there what it learns
        self._configuration.write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} {2 * down_after_ms}\n"
        )

    def words(self) -> Sequence[str]:
        """What the program is told: there is no data, but a file of its own."""
        address = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        return (str(self._configuration), "--sentinel", *address, *self._settings)

    @property
    def master_port(self) -> int:
        """Where this sentinel believes the master to be."""
        _, port = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)


@dataclass(frozen=True)
class SentinelGroup:
    """A master, its replicas and the sentinels over them."""

    nodes: Sequence[PrivateRedis]
    sentinels: Sequence[Sentinel]

    @property
    def url(self) -> str:
        """The address as the product takes it."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def master(self) -> PrivateRedis:
        """The node that most sentinels take for the master, which may be dead."""
        ports = [one.master_port for one in self.sentinels if one.running]
        return _by_port(self.nodes, max(ports, key=ports.count))

    def ready(self) -> bool:
        """Whether every replica follows the master, and every sentinel knows them and the others."""
        master = self.master
        if not master.running:
            return False
        following = master.command("INFO", "replication").count("state=online")
        known = [_pairs(one.command("SENTINEL", "MASTER", SERVICE)) for one in self.sentinels if one.running]
        return following == sum(one.running for one in self.nodes) - 1 and all(
            int(one["num-slaves"]) >= following
            and int(one["num-other-sentinels"]) == len(self.sentinels) - 1
            and one["flags"] == "master"
            for one in known
        )


@dataclass(frozen=True)
class RedisCluster:
    """Masters that share the slots, and the replicas of each."""

    nodes: Sequence[PrivateRedis]

    @property
    def url(self) -> str:
        """The address as the product takes it."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.nodes)
        return f"redis+cluster://{hosts}"

    def masters(self) -> list[PrivateRedis]:
        """The nodes that have slots, in the order of these; they may be dead if nobody noticed yet."""
        return [_by_port(self.nodes, int(master[1])) for _, _, master, *_ in self._slots()]

    def master_of(self, key: str) -> PrivateRedis:
        """The master that has a key's slot."""
        slot = key_slot(key.encode())
        (found,) = (master for first, last, master, *_ in self._slots() if first <= slot <= last)
        return _by_port(self.nodes, int(found[1]))

    def move(self, key: str, to: PrivateRedis) -> None:
        """Give the slot of a key, with all that is in it, to another master."""
        self.begin_to_move(key, to)
        self.finish_to_move(key, to)

    def begin_to_move(self, key: str, to: PrivateRedis) -> None:
        """Begin to move the slot of a key, and move nothing: for what it lacks its master says ASK."""
        slot, source = key_slot(key.encode()), self.master_of(key)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(to))

    def move_keys(self, key: str, to: PrivateRedis, *, count: int = 1_000_000) -> None:
        """Move some of the keys in the slot of a key, once this has begun."""
        names = self.keys_beside(key, count=count)
        if names:
            self.master_of(key).command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *names)

    def keys_beside(self, key: str, *, count: int = 1_000_000) -> list[str]:
        """Return keys in the slot of a key that its master still has, the key itself among them."""
        found = self.master_of(key).command("CLUSTER", "GETKEYSINSLOT", key_slot(key.encode()), count)
        return list(found)

    def finish_to_move(self, key: str, to: PrivateRedis) -> None:
        """Move the rest, and tell the masters whose the slot is now."""
        slot = key_slot(key.encode())
        self.move_keys(key, to)
        for node in (to, *self.masters()):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", _id(to))

    def replace(self, key: str, by: PrivateRedis) -> PrivateRedis:
        """Cut off the master that has a key's slot, which does not notice; give the slot to another.

        Return who was cut off. The cluster must not require that all slots have a master.
        """
        old, slot = self.master_of(key), key_slot(key.encode())
        others = [one for one in self.nodes if one is not old]
        for one in others:
            old.command("CLUSTER", "FORGET", _id(one))
            one.command("CLUSTER", "FORGET", _id(old))
        for one in others:
            one.command("CLUSTER", "SETSLOT", slot, "NODE", _id(by))
        return old

    def ready(self) -> bool:
        """Whether every running node calls the cluster whole and every replica follows its master."""
        running = [one for one in self.nodes if one.running]
        views = [one.command("CLUSTER", "INFO") for one in running]
        whole = all("cluster_state:ok" in view for view in views)
        agreed = len({str(sorted(map(str, one.command("CLUSTER", "SLOTS")))) for one in running}) == 1
        roles = [one.command("ROLE") for one in running]
        return whole and agreed and all(role[0] == "master" or role[3] == "connected" for role in roles)

    def _slots(self) -> list[list[Any]]:
        node = next(one for one in self.nodes if one.running)
        return sorted(node.command("CLUSTER", "SLOTS"))


@contextmanager
def sentinel_group(
    directory: Path, *settings: str, replicas: int = 1, sentinels: int = 3, down_after_ms: int = 500
) -> Iterator[SentinelGroup]:
    """Start a master with replicas and sentinels; ``settings`` are those of every data node."""
    with ExitStack() as stack:
        nodes = [PrivateRedis(_folder(directory, f"node{n}"), *settings) for n in range(replicas + 1)]
        master, *followers = nodes
        for node in nodes:
            stack.callback(node.kill)
        master.start()
        for node in followers:
            node.start("--replicaof", f"127.0.0.1 {master.port}")
        watchers = [
            Sentinel(
                _folder(directory, f"sentinel{n}"),
                master.port,
                quorum=sentinels // 2 + 1,
                down_after_ms=down_after_ms,
            )
            for n in range(sentinels)
        ]
        for node in nodes:
            node.wait()
        for watcher in watchers:
            stack.callback(watcher.kill)
            watcher.start()
            watcher.wait()
            # They find each other sooner. A replica is promoted if it answered within five ping periods,
            # while it is asked once a second: a shorter period would often leave none.
            periods = {"PUBLISH-PERIOD": 200, "INFO-PERIOD": 300, "PING-PERIOD": 400}
            watcher.command("SENTINEL", "DEBUG", *(word for period in periods.items() for word in period))
        group = SentinelGroup(nodes, watchers)
        wait_for(group.ready)
        yield group


@contextmanager
def redis_cluster(
    directory: Path, *settings: str, masters: int = 3, replicas: int = 1, node_timeout_ms: int = 1000
) -> Iterator[RedisCluster]:
    """Start a cluster, its slots spread evenly, each master with ``replicas``.

    ``settings`` are those of every node; with a certificate among them, each has a TLS port besides its own.
    """
    with ExitStack() as stack:
        nodes = []
        for number in range(masters * (1 + replicas)):
            node = PrivateRedis(
                _folder(directory, f"node{number}"),
                *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)),
                *("--cluster-port", str(free_port()), *settings),
                *(("--tls-port", str(free_port())) if "--tls-cert-file" in settings else ()),
            )
            stack.callback(node.kill)
            node.start()
            nodes.append(node)
        for number, node in enumerate(nodes):
            node.wait()
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(nodes[:masters]):
            first, last = number * SLOTS // masters, (number + 1) * SLOTS // masters - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            bus = node.command("CONFIG", "GET", "cluster-port")[1]
            nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        cluster = RedisCluster(nodes)
        for number, node in enumerate(nodes[masters:]):
            master = nodes[number % masters]
            wait_for(partial(_knows, node, master))
            node.command("CLUSTER", "REPLICATE", _id(master))
        wait_for(cluster.ready)
        yield cluster


def wait_for(look: Callable[[], T], *, within: float = 30.0) -> T:
    """Look until the answer is truthy and return it; servers that do not answer yet are looked at again."""
    deadline = time.monotonic() + within
    while True:
        try:
            found = look()
        except RedisError:
            if time.monotonic() > deadline:
                raise
        else:
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s; the last look gave {found!r}")
        time.sleep(0.02)


def _folder(directory: Path, name: str) -> Path:
    folder = directory / name
    folder.mkdir(parents=True)
    return folder


def _by_port(nodes: Sequence[PrivateRedis], port: int) -> PrivateRedis:
    return next(node for node in nodes if node.port == port)


def _id(node: PrivateRedis) -> str:
    return str(node.command("CLUSTER", "MYID"))


def _knows(node: PrivateRedis, other: PrivateRedis) -> bool:
    return _id(other) in node.command("CLUSTER", "NODES")


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
