"""Private Redis servers that may be killed, stopped and filled: one, a group with Sentinel, a cluster."""

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import redis

from claimbus.cli.services import RedisServer
from tests.claimstore.clusters import redis_cluster, sentinel_group

DOWN_AFTER_MS = 1000
"""Silence after which a replica is put in a master's place; 5,000 and more is usual."""


class Redis(Protocol):
    """What faults do to a server, whoever started it. ``start`` may return before it has loaded its data."""

    @property
    def port(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def start(self) -> object: ...
    def command(self, *words: str | int) -> Any: ...  # noqa: ANN401 - what Redis answers


class Alone(RedisServer):
    """One server with its data on the disk: no reply before it is synced."""

    @property
    def port(self) -> int:
        """Where it listens on the loopback interface."""
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def pause(self) -> None:
        """Let it hang: its connections stay and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str | int) -> Any:  # noqa: ANN401 - what Redis answers
        """Ask it something over a connection of its own; texts come decoded. Raises redis.RedisError."""
        with redis.Redis(port=self.port, protocol=2, decode_responses=True, socket_timeout=10.0) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)


def open_sentinel(directory: Path, running: ExitStack) -> tuple[str, Sequence[Redis]]:
    """Start a master, its replica and three sentinels; return the URL and the two that hold data."""
    group = running.enter_context(sentinel_group(directory, down_after_ms=DOWN_AFTER_MS))
    return group.url, group.nodes


def open_redis_cluster(directory: Path, running: ExitStack) -> tuple[str, Sequence[Redis]]:
    """Start three masters, each with a replica; return the URL and all six."""
    cluster = running.enter_context(redis_cluster(directory, node_timeout_ms=DOWN_AFTER_MS))
    return cluster.url, cluster.nodes
